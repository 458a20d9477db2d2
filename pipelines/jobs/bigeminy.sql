-- Runs of bigeminy: every second beat comes early, at the same distance from the one before, three times or more in a
-- row. Reads the table beats that beats.sql made. Makes the table bigeminy.
--
-- Early is a beat whose interval is clearly shorter than the next one; a little shorter is enough where the beat takes
-- another kernel than both neighbours, which take one and the same, as a ventricular beat among normal ones does.
-- In fibrillation intervals alternate by chance for a while, but the early ones differ from each other.
CREATE OR REPLACE TEMP TABLE bigeminy AS
WITH numbered AS (
    SELECT *, row_number() OVER along AS number, lead(rr_ms) OVER along AS pause_ms,
        lag(time_ns) OVER along AS before_ns, lead(time_ns) OVER along AS after_ns,
        lag(kernel_uid) OVER along = lead(kernel_uid) OVER along AND kernel_uid <> lag(kernel_uid) OVER along AS other
    FROM beats
    WINDOW along AS (PARTITION BY recording, stream ORDER BY time_ns)
),
early AS (
    SELECT * FROM numbered WHERE rr_ms < CASE WHEN other THEN 0.95 ELSE 0.85 END * pause_ms
),
begun AS (  -- a run ends where the next early beat is not the second next, or comes at another distance
    SELECT *, CASE WHEN number - lag(number) OVER along = 2
        AND rr_ms BETWEEN 0.85 * lag(rr_ms) OVER along AND lag(rr_ms) OVER along / 0.85 THEN 0 ELSE 1 END AS begins
    FROM early
    WINDOW along AS (PARTITION BY recording, stream ORDER BY time_ns)
),
runs AS (
    SELECT *, sum(begins) OVER (PARTITION BY recording, stream ORDER BY time_ns) AS run FROM begun
)
SELECT recording, stream, min(before_ns) AS start_ns, max(after_ns) AS stop_ns, count(*) AS pairs,
    avg(rr_ms) AS coupling_ms, avg(pause_ms) AS pause_ms, list_distinct(list(kernel_uid)) AS early_kernels
FROM runs GROUP BY recording, stream, run HAVING count(*) >= 3;
SELECT * FROM bigeminy ORDER BY recording, stream, start_ns;
