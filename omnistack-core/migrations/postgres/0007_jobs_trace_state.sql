-- W3C tracestate, beside the traceparent in jobs.trace.
alter table jobs add column trace_state text;
