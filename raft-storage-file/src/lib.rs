//! raft-storage-file
