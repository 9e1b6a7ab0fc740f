-- The tags, as a JSON list.
alter table files add column tags text not null default '[]';
alter table files add column archived_at timestamptz;
-- For a file in an external archive: the days for which it is being restored; 0 while its copy in the main
-- storage is being deleted.
alter table files add column restoring integer;
-- Until when the copy in the main storage can be read.
alter table files add column restored_until timestamptz;

create index files_archived on files (archived_at) where archived_at is not null;
create index files_restored on files (restored_until) where restored_until is not null or restoring = 0;
