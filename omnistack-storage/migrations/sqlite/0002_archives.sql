-- What files are marked with, as a list in JSON.
alter table files add column tags text not null default '[]';
alter table files add column archived_at text;
-- Of a file whose archive is elsewhere: for how many days it is being brought back; 0 while the copy here is being removed.
alter table files add column restoring integer;
-- Until when there is a copy here.
alter table files add column restored_until text;

create index files_archived on files (archived_at) where archived_at is not null;
create index files_restored on files (restored_until) where restored_until is not null or restoring = 0;
