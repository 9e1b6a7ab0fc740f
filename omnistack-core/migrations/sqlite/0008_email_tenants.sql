-- SQLite has no row-level security; nothing to change.
select 1;
