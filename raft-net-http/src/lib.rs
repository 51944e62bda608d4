//! raft-net-http
