//! Settings of backups. Without the feature `backup`, the crate compiles nothing else of the module `backup`.

crate::settings! {
    feature "backup" of "omnistack";
    /// Backups.
    pub struct BackupSettings {
        /// Keys that seal backups, as `id:base64,id2:base64`, each with 32 random bytes (`openssl rand -base64 32`). The
        /// first key seals; the others still open older backups. Without keys, backups are not encrypted. Keep the keys in
        /// another place than the backups.
        pub keys: Option<secrecy::SecretString> = "BACKUP_KEYS";
        /// Directory for temporary copies of the databases while a backup is made or restored; that of the system if
        /// absent. It needs as much space as the databases.
        pub directory: Option<std::path::PathBuf> = "BACKUP_DIRECTORY";
        /// Directory of `pg_dump` and `pg_restore`, of the major version of the server. If absent, they are searched in
        /// the directories in which systems install them, and in `PATH`.
        pub postgres_bin: Option<std::path::PathBuf> = "BACKUP_POSTGRES_BIN";
    }
}
