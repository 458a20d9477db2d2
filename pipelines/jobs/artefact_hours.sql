-- The hours with most artefact, from what coding left behind. Reads the table windows; no sample is decoded.
--
-- A window of a channel counts as spoilt where more than half of it is missing, where it does not move at all, where its
-- block took twice the bits that the channel usually takes at the same quality, where its error is three times the usual
-- (at prdn= the error is a share of the deviation, so the signal was three times as large), or where no kernel was found
-- though four windows of five have one.
WITH usual AS (
    SELECT recording, stream, channel, quality, median(bits_per_sample) AS bits, median(rmse) AS rmse,
        avg((n_activations > 0)::INT) AS explained
    FROM windows WHERE missing = 0 AND NOT constant GROUP BY ALL
),
judged AS (
    SELECT w.*, w.missing > w.n_samples / 2 AS gone, w.constant AND w.missing = 0 AS flat,
        coalesce(w.bits_per_sample > 2 * u.bits, false) AS costly,
        coalesce(w.rmse > 3 * u.rmse AND u.rmse > 0, false) AS large,
        coalesce(w.n_activations = 0 AND u.explained > 0.8, false) AS unexplained
    FROM windows w LEFT JOIN usual u USING (recording, stream, channel, quality)
)
SELECT recording, stream, start_time_ns // 3_600_000_000_000 * 3_600_000_000_000 AS hour_ns, count(*) AS n_windows,
    avg((gone OR flat OR costly OR large OR unexplained)::INT) AS spoilt,
    avg(gone::INT) AS missing, avg(flat::INT) AS flat, avg(costly::INT) AS costly, avg(large::INT) AS large,
    avg(unexplained::INT) AS unexplained, avg(bits_per_sample) AS bits_per_sample
FROM judged
GROUP BY ALL
ORDER BY spoilt DESC, recording, stream, hour_ns
LIMIT 100;
