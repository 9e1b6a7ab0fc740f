-- SQLite has no row-level security; nothing to prepare.
select 1;
