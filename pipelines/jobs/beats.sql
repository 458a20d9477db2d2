-- Heart beats of every ECG stream, with the interval to the beat before. Reads the tables activations and kernels of
-- a dataset that pipelines.jobs.records wrote; no sample is decoded. Makes the table beats.
--
-- An activation says that a kernel stands somewhere; the kernels table says where a kernel is as steep as a QRS
-- complex. Slopes within 60 ms are added (a complex may take several kernels), the steepest place within 200 ms is a
-- candidate (no heart beats again that soon), and a beat is a candidate that comes up to those around it.
-- Times and slopes mean the same in every segment: a new bank changes kernels, not beats.
CREATE OR REPLACE TEMP TABLE beats AS
WITH places AS (  -- a segment's kernels stand in the partition of every day that it has
    SELECT DISTINCT ON (recording, stream, segment, kernel, place) * FROM kernels
),
steep AS (
    SELECT a.recording, a.stream, a.kernel_uid, a.fiducial_time_ns + k.offset_ns AS time_ns,
        list_sum([CASE WHEN k.modality[i] = 'ecg' THEN (a.amplitude[i] * k.sharp[i]) ** 2 ELSE 0 END
            FOR i IN range(1, len(k.modality) + 1)]) AS energy
    FROM activations a JOIN places k USING (recording, stream, segment, kernel)
),
gathered AS (
    SELECT *, sum(energy) OVER near + energy / 1000 AS strength,
        arg_max(kernel_uid, energy) OVER near AS kernel_of_beat
    FROM steep WHERE energy > 0
    WINDOW near AS (
        PARTITION BY recording, stream ORDER BY time_ns RANGE BETWEEN 60_000_000 PRECEDING AND 60_000_000 FOLLOWING
    )
),
candidates AS (
    SELECT recording, stream, time_ns, kernel_of_beat AS kernel_uid, sqrt(strength) AS slope
    FROM gathered
    QUALIFY strength = max(strength) OVER (
        PARTITION BY recording, stream ORDER BY time_ns RANGE BETWEEN 200_000_000 PRECEDING AND 200_000_000 FOLLOWING
    )
),
usual AS (  -- the median, over some ten seconds, of the steepest of every two
    SELECT recording, stream, bin, median(steepest) OVER (
        PARTITION BY recording, stream ORDER BY bin RANGE BETWEEN 4 PRECEDING AND 4 FOLLOWING
    ) AS slope
    FROM (
        SELECT recording, stream, time_ns // 2_000_000_000 AS bin, max(slope) AS steepest
        FROM candidates GROUP BY ALL
    )
),
judged AS (
    SELECT c.*, c.slope / u.slope AS share,
        c.time_ns - lag(c.time_ns) OVER along AS since_ns, lag(c.slope) OVER along AS slope_before
    FROM candidates c JOIN usual u ON c.recording = u.recording AND c.stream = u.stream
        AND u.bin = c.time_ns // 2_000_000_000
    WHERE c.slope >= 0.3 * u.slope
    WINDOW along AS (PARTITION BY c.recording, c.stream ORDER BY c.time_ns)
)
SELECT recording, stream, time_ns, kernel_uid, slope,
    -- an interval that no heart makes is a stretch without records
    CASE WHEN rr_ns < 5_000_000_000 THEN rr_ns / 1e6 END AS rr_ms
FROM (
    SELECT *, time_ns - lag(time_ns) OVER (PARTITION BY recording, stream ORDER BY time_ns) AS rr_ns
    FROM judged
    -- what is blunt and soon after a beat is its T wave
    WHERE NOT coalesce(since_ns < 360_000_000 AND slope < 0.5 * slope_before, false)
        AND NOT coalesce(since_ns < 200_000_000, false)
);
SELECT * FROM beats ORDER BY recording, stream, time_ns;
