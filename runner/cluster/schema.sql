-- One rate and one truth for many machines. Every time in here is this database's own clock.
-- What stands in a function happens in one transaction, and so with one sync of the disk.
-- Rows are locked in one order, so that nobody waits in a circle: a job's, then its shards', then an origin's.
-- Procrastinate's own schema is there already: its tasks say that a shard is to be taken, never how it stands.

CREATE TABLE schema_version (number integer NOT NULL);
INSERT INTO schema_version VALUES (1);

-- The rate is an origin's: of all jobs, runs and workers together that reach it.
CREATE TABLE origins (
    origin text PRIMARY KEY,                                     -- scheme, host and port
    count double precision NOT NULL CHECK (count > 0),           -- requests in a period, as configured
    period_s double precision NOT NULL CHECK (period_s IN (1, 60)),
    share double precision NOT NULL DEFAULT 1,                   -- of the rate that is allowed, after complaints
    next_step timestamptz NOT NULL DEFAULT 'infinity',           -- when the share grows again
    last_cut timestamptz NOT NULL DEFAULT '-infinity',
    next_slot timestamptz NOT NULL DEFAULT '-infinity',          -- only ever grows
    paused_until timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE jobs (
    job text PRIMARY KEY,                                        -- the id that people type
    origin text NOT NULL REFERENCES origins,
    base_url text NOT NULL,
    name text NOT NULL,
    run_id text NOT NULL,
    plan_sha256 text NOT NULL,
    batches bigint NOT NULL,
    phones bigint NOT NULL,
    settings jsonb NOT NULL,                                     -- limits, reason, operator, audit_all_phones
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'stopping', 'stopped', 'done')),
    stop_why text,
    stop_code integer,                                           -- the exit code of that
    held boolean NOT NULL DEFAULT false,                         -- an operator's pause
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fetched_at timestamptz,
    UNIQUE (origin, plan_sha256)
);

CREATE TABLE shards (
    -- Looked at in the end: a long plan comes in first, and nobody waits for its rate meanwhile.
    job text REFERENCES jobs ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    shard integer,
    epoch integer NOT NULL DEFAULT 1,                            -- grows with each change of owner
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'doing', 'stopped', 'done')),
    plan_sha256 text NOT NULL,
    batches bigint NOT NULL,
    phones bigint NOT NULL,
    worker text,
    beat timestamptz,
    pieces integer NOT NULL DEFAULT 0,                           -- of its audit
    progress jsonb,                                              -- as its last owner's fold had it
    exit_code integer,
    why text,
    PRIMARY KEY (job, shard)
);
CREATE INDEX shards_beat ON shards (beat) WHERE state = 'doing';

-- A shard's plan is an ordinary plan, and its audit an ordinary audit; both cut between lines.
CREATE TABLE plan_pieces (
    job text, shard integer, piece integer, lines bytea NOT NULL,
    PRIMARY KEY (job, shard, piece), FOREIGN KEY (job, shard) REFERENCES shards ON DELETE CASCADE
);
CREATE TABLE audit_pieces (
    job text, shard integer, piece integer, epoch integer NOT NULL, lines bytea NOT NULL,
    PRIMARY KEY (job, shard, piece), FOREIGN KEY (job, shard) REFERENCES shards ON DELETE CASCADE
);
-- What an owner had to say when the shard was no longer its own: no part of the audit, but not lost.
CREATE TABLE late_pieces (
    job text, shard integer, epoch integer, piece integer, lines bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job, shard, epoch, piece), FOREIGN KEY (job, shard) REFERENCES shards ON DELETE CASCADE
);
-- A job that is placed once more begins above these: an owner of its former life stays fenced.
CREATE TABLE forgotten (job text PRIMARY KEY, epoch integer NOT NULL);
-- An operator's; each stands in the audit of every shard that is under way then.
CREATE TABLE orders (
    job text REFERENCES jobs ON DELETE CASCADE,
    number integer,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rate text, pause boolean,                                    -- one of them
    operator text, reason text,
    PRIMARY KEY (job, number)
);

CREATE FUNCTION seconds(moment timestamptz) RETURNS double precision  -- since 1970
LANGUAGE sql STABLE AS $$ SELECT extract(epoch FROM moment)::double precision $$;

-- Set an origin's rate (`lower_only`: unless a lower one is in use), and return what holds.
CREATE FUNCTION use_rate(of_origin text, new_count double precision, new_period_s double precision, lower_only boolean)
RETURNS TABLE (count double precision, period_s double precision)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    o origins;
    idle boolean;
BEGIN
    INSERT INTO origins AS was (origin, count, period_s) VALUES (of_origin, new_count, new_period_s)
        ON CONFLICT (origin) DO NOTHING;
    SELECT * INTO o FROM origins WHERE origin = of_origin FOR NO KEY UPDATE;  -- jobs may refer to it meanwhile
    -- Nobody holds a rate any more that has no open job and took no slot for a minute.
    idle := o.next_slot < clock_timestamp() - interval '1 minute'
        AND NOT EXISTS (SELECT FROM jobs WHERE origin = of_origin AND state IN ('open', 'stopping'));
    IF idle OR NOT lower_only OR new_count / new_period_s < o.count / o.period_s THEN
        UPDATE origins SET count = new_count, period_s = new_period_s,
            -- A way back from a complaint goes on from where it is.
            share = CASE WHEN o.share < 1
                THEN least(1, greatest(0.05, o.share * (o.count / o.period_s) / (new_count / new_period_s))) ELSE 1 END
            WHERE origin = of_origin;
        PERFORM pg_notify('bulk_delete', 'origin ' || of_origin);
    END IF;
    RETURN QUERY SELECT o.count, o.period_s FROM origins AS o WHERE o.origin = of_origin;
END $$;

-- Hand out departures, and hear a complaint of the server's.
--   complaint: null none; 0 "too many", without advice; above 0 the seconds that it asked for.
-- Slot i of those granted may be used in [first_s + i * step_s, that + 30 ms]: any second then holds departures
-- of 1.03 seconds of slots, which are as many as the rate allows, whoever took them and whoever died since.
CREATE FUNCTION take_slots(of_origin text, wanted integer, complaint double precision)
RETURNS TABLE (at_s double precision, first_s double precision, step_s double precision, granted integer,
               allowed double precision, count double precision, period_s double precision,
               paused_until_s double precision)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    horizon_s CONSTANT double precision := 1;
    slack_s CONSTANT double precision := 0.03;
    o origins;
    now_at timestamptz;
    climb_s double precision;
    steps integer;
    slot_s double precision;
    from_at timestamptz;
    room integer;
BEGIN
    SELECT * INTO o FROM origins WHERE origin = of_origin FOR NO KEY UPDATE;  -- jobs may refer to it meanwhile
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such origin: %', of_origin USING ERRCODE = 'no_data_found';
    END IF;
    now_at := clock_timestamp();
    climb_s := greatest(2, 5 * o.period_s / o.count);
    IF o.share < 1 AND now_at >= o.next_step THEN
        steps := 1 + floor(extract(epoch FROM now_at - o.next_step) / climb_s);
        o.share := o.share + 0.1 * steps;
        o.next_step := o.next_step + make_interval(secs => steps * climb_s);
        IF o.share > 0.95 THEN
            o.share := 1;
        END IF;
    END IF;
    IF complaint IS NOT NULL AND (complaint > 0 OR (o.paused_until <= now_at AND o.last_cut < now_at - interval '1 second')) THEN
        IF o.paused_until <= now_at THEN
            o.share := greatest(0.05, o.share / 2);
            o.last_cut := now_at;
        END IF;
        complaint := least(complaint, 600);
        -- Other clients of the vendor were told the same second.
        complaint := complaint + random() * least(1, complaint * 0.05);
        o.paused_until := greatest(o.paused_until, now_at + make_interval(secs => complaint));
        o.next_slot := greatest(o.next_slot, o.paused_until);
        o.next_step := o.paused_until + make_interval(secs => climb_s);
        PERFORM pg_notify('bulk_delete', 'origin ' || of_origin);
    END IF;
    slot_s := (o.period_s + slack_s) / (o.count * o.share);
    from_at := greatest(o.next_slot, now_at, o.paused_until);
    room := greatest(0, ceil(extract(epoch FROM now_at - from_at + make_interval(secs => horizon_s)) / slot_s));
    granted := least(greatest(wanted, 0), room);
    IF granted > 0 THEN
        o.next_slot := from_at + make_interval(secs => granted * slot_s);
    END IF;
    UPDATE origins SET share = o.share, next_step = o.next_step, last_cut = o.last_cut,
        next_slot = o.next_slot, paused_until = o.paused_until WHERE origin = of_origin;
    RETURN QUERY SELECT seconds(clock_timestamp()), seconds(from_at), slot_s, granted, o.count * o.share, o.count,
        o.period_s, seconds(o.paused_until);
END $$;

-- One task an epoch; looked up by what it is of.
CREATE INDEX shard_tasks ON procrastinate_jobs (args) WHERE task_name = 'send_shard';

-- A queue's name becomes part of a channel's, which may have 63 bytes: an origin may be longer.
CREATE FUNCTION queue_of(of_origin text, rescued boolean) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN rescued THEN 'rescued ' ELSE 'shards ' END
        || left(encode(sha256(convert_to(of_origin, 'UTF8')), 'hex'), 16)
$$;

-- Place a shard's one task of this epoch.
CREATE FUNCTION place_shard(of_job text, of_shard integer, rescued boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    s shards;
    base text;
BEGIN
    SELECT * INTO s FROM shards WHERE job = of_job AND shard = of_shard;
    SELECT origin INTO base FROM jobs WHERE job = of_job;
    PERFORM procrastinate_defer_jobs_v1(ARRAY[ROW(
        queue_of(base, rescued), 'send_shard', CASE WHEN rescued THEN 1 ELSE 0 END,
        NULL, NULL, jsonb_build_object('job', of_job, 'shard', of_shard, 'epoch', s.epoch), NULL
    )::procrastinate_job_to_defer_v1]);
END $$;

-- Take a shard; false: it is another's, or its job is stopping.
CREATE FUNCTION begin_shard(of_job text, of_shard integer, my_epoch integer, me text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM jobs WHERE job = of_job AND state = 'open' FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE shards SET state = 'doing', worker = me, beat = clock_timestamp(), exit_code = NULL, why = NULL
        WHERE job = of_job AND shard = of_shard AND epoch = my_epoch AND state = 'waiting';
    RETURN FOUND;
END $$;

-- One turn of a shard's owner: its beat, then its lines, then its slots; whoever is fenced gets nothing.
-- A turn whose answer was lost is taken again with the same piece. `piece`: null where there are no lines.
CREATE FUNCTION turn(of_job text, of_shard integer, my_epoch integer, new_piece integer, new_lines bytea,
                     wanted integer, complaint double precision, said jsonb)
RETURNS TABLE (fenced boolean, stop_why text, held boolean, orders integer,
               at_s double precision, first_s double precision, step_s double precision, granted integer,
               allowed double precision, count double precision, period_s double precision,
               paused_until_s double precision)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    j jobs;
    there bytea;
BEGIN
    UPDATE shards SET beat = clock_timestamp(), progress = coalesce(said, progress),
            pieces = greatest(pieces, coalesce(new_piece, 0))
        WHERE job = of_job AND shard = of_shard AND epoch = my_epoch AND state = 'doing';
    IF NOT FOUND THEN
        IF new_piece IS NOT NULL AND EXISTS (SELECT FROM shards WHERE job = of_job AND shard = of_shard)
           AND NOT EXISTS (SELECT FROM audit_pieces WHERE job = of_job AND shard = of_shard AND piece = new_piece
                           AND lines = new_lines) THEN
            INSERT INTO late_pieces VALUES (of_job, of_shard, my_epoch, new_piece, new_lines) ON CONFLICT DO NOTHING;
        END IF;
        RETURN QUERY SELECT true, NULL::text, false, 0, seconds(clock_timestamp()), n, n, 0, n, n, n, n
            FROM (VALUES (0::double precision)) AS nothing (n);
        RETURN;
    END IF;
    IF new_piece IS NOT NULL THEN
        INSERT INTO audit_pieces VALUES (of_job, of_shard, new_piece, my_epoch, new_lines) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT lines INTO there FROM audit_pieces WHERE job = of_job AND shard = of_shard AND piece = new_piece;
            IF there <> new_lines THEN
                RAISE EXCEPTION 'piece % of shard % of job % holds other lines', new_piece, of_shard, of_job
                    USING ERRCODE = 'unique_violation';
            END IF;
        END IF;
    END IF;
    SELECT * INTO j FROM jobs WHERE job = of_job;
    RETURN QUERY SELECT false, CASE WHEN j.state = 'stopping' THEN coalesce(j.stop_why, '') END, j.held,
        (SELECT coalesce(max(number), 0) FROM orders WHERE job = of_job), s.*
        FROM take_slots(j.origin, CASE WHEN j.held OR j.state <> 'open' THEN 0 ELSE wanted END, complaint) AS s;
END $$;

-- Close the books of a job whose shards are all at rest.
CREATE FUNCTION settle_job(of_job text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM jobs WHERE job = of_job FOR UPDATE;
    UPDATE shards SET state = 'stopped' WHERE job = of_job AND state = 'waiting'
        AND EXISTS (SELECT FROM jobs WHERE job = of_job AND state = 'stopping');
    UPDATE jobs SET state = CASE WHEN EXISTS (SELECT FROM shards WHERE job = of_job AND state = 'stopped')
            THEN 'stopped' ELSE 'done' END
        WHERE job = of_job AND state IN ('open', 'stopping')
        AND NOT EXISTS (SELECT FROM shards WHERE job = of_job AND state IN ('waiting', 'doing'));
END $$;

-- End a shard's ownership, after its last turn; false: it was fenced.
--   new_state: done; stopped (`stops_job`: with the whole job, for a reason that holds for every shard);
--   waiting: given back by a worker that was told to go, to be taken on at once.
CREATE FUNCTION end_shard(of_job text, of_shard integer, my_epoch integer, new_state text, stops_job boolean,
                          code integer, reason text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM jobs WHERE job = of_job FOR UPDATE;
    UPDATE shards SET state = new_state, exit_code = code, why = reason, worker = NULL,
            epoch = epoch + CASE WHEN new_state = 'waiting' THEN 1 ELSE 0 END
        WHERE job = of_job AND shard = of_shard AND epoch = my_epoch AND state = 'doing';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF new_state = 'waiting' THEN
        PERFORM place_shard(of_job, of_shard, true);
    END IF;
    IF stops_job THEN
        PERFORM stop_job(of_job, reason, code);
    END IF;
    PERFORM settle_job(of_job);
    RETURN true;
END $$;

-- Let a job's shards come to a clean end, and none begin.
CREATE FUNCTION stop_job(of_job text, reason text, code integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs SET state = 'stopping', stop_why = reason, stop_code = code WHERE job = of_job AND state = 'open';
    PERFORM pg_notify('bulk_delete', 'job ' || of_job);
    PERFORM settle_job(of_job);
END $$;

-- The tasks of shards that somebody will still begin: those that wait, or were taken a moment ago.
CREATE FUNCTION live_tasks(stale_s double precision) RETURNS TABLE (args jsonb)
LANGUAGE sql STABLE AS $$
    SELECT t.args FROM procrastinate_jobs AS t WHERE t.task_name = 'send_shard'
        AND (t.status = 'todo' OR t.status = 'doing' AND EXISTS (
            SELECT FROM procrastinate_events AS e WHERE e.job_id = t.id AND e.type = 'started'
                AND e.at > clock_timestamp() - make_interval(secs => stale_s)))
$$;

-- Shards whose owner was not heard of for so long, or that nobody will begin; nothing is locked.
-- Every worker looks, each second, and there may be thousands: never one by one, whatever the planner believes.
CREATE FUNCTION lost_shards(of_origin text, stale_s double precision)
RETURNS TABLE (job text, shard integer, epoch integer)
LANGUAGE sql STABLE SET enable_nestloop = off AS $$
    SELECT h.job, h.shard, h.epoch FROM shards AS h JOIN jobs AS j USING (job)
        WHERE j.origin = of_origin AND h.state = 'doing'
        AND h.beat < clock_timestamp() - make_interval(secs => stale_s)
    UNION ALL
    SELECT h.job, h.shard, h.epoch FROM shards AS h JOIN jobs AS j USING (job)
        WHERE j.origin = of_origin AND h.state = 'waiting' AND NOT EXISTS (SELECT FROM live_tasks(stale_s) AS t
            WHERE t.args = jsonb_build_object('job', h.job, 'shard', h.shard, 'epoch', h.epoch))
$$;

-- Take shards away from owners that were not heard of for so long, and place each anew; also those whose
-- worker died between taking the task and beginning the shard.
CREATE FUNCTION rescue_shards(of_origin text, stale_s double precision)
RETURNS TABLE (job text, shard integer, epoch integer, worker text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    lost record;
    s shards;
BEGIN
    FOR lost IN SELECT * FROM lost_shards(of_origin, stale_s) AS l ORDER BY l.job, l.shard LOOP
        PERFORM FROM jobs AS j WHERE j.job = lost.job FOR UPDATE;
        -- It may have been heard of meanwhile, or begun after all.
        SELECT * INTO s FROM shards AS h WHERE h.job = lost.job AND h.shard = lost.shard AND h.epoch = lost.epoch
            AND (h.state = 'waiting'
                OR h.state = 'doing' AND h.beat < clock_timestamp() - make_interval(secs => stale_s))
            FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        UPDATE shards AS h SET state = 'waiting', epoch = h.epoch + 1, worker = NULL
            WHERE h.job = s.job AND h.shard = s.shard;
        UPDATE procrastinate_jobs SET status = 'failed'
            WHERE status IN ('todo', 'doing') AND task_name = 'send_shard'
            AND args = jsonb_build_object('job', s.job, 'shard', s.shard, 'epoch', s.epoch);
        PERFORM place_shard(s.job, s.shard, true);
        PERFORM settle_job(s.job);
        job := s.job; shard := s.shard; epoch := s.epoch + 1; worker := s.worker;
        RETURN NEXT;
    END LOOP;
END $$;

-- Go on with a job that was stopped: what is not done waits again, under a new epoch.
CREATE FUNCTION reopen_job(of_job text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    s record;
    placed integer := 0;
BEGIN
    UPDATE jobs SET state = 'open', stop_why = NULL, stop_code = NULL, fetched_at = NULL
        WHERE job = of_job AND state = 'stopped';
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR s IN SELECT shard FROM shards WHERE job = of_job AND state = 'stopped' FOR UPDATE LOOP
        UPDATE shards SET state = 'waiting', epoch = epoch + 1, exit_code = NULL, why = NULL
            WHERE job = of_job AND shard = s.shard;
        PERFORM place_shard(of_job, s.shard, false);
        placed := placed + 1;
    END LOOP;
    RETURN placed;
END $$;

-- Note an operator's order on a job; what it changes holds at once.
CREATE FUNCTION give_order(of_job text, new_rate text, new_count double precision, new_period_s double precision,
                           new_pause boolean, who text, why text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    j jobs;
    next_number integer;
BEGIN
    SELECT * INTO j FROM jobs WHERE job = of_job FOR UPDATE;
    IF new_rate IS NOT NULL THEN
        PERFORM use_rate(j.origin, new_count, new_period_s, false);
    END IF;
    IF new_pause IS NOT NULL THEN
        UPDATE jobs SET held = new_pause WHERE job = of_job;
    END IF;
    SELECT coalesce(max(number), 0) + 1 INTO next_number FROM orders WHERE job = of_job;
    INSERT INTO orders (job, number, rate, pause, operator, reason)
        VALUES (of_job, next_number, new_rate, new_pause, who, why);
    PERFORM pg_notify('bulk_delete', 'job ' || of_job);
    RETURN next_number;
END $$;
