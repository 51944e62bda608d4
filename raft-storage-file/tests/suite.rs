//! The conformance suite of the log's seam, on files.

use bytes::Bytes;
use raft_actor::{
    storage::LogStorage,
    types::{ClusterId, Entry, HardState, LogId, LogIndex, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{FileLog, Identity, Options};

#[tokio::test]
async fn smoke() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity { cluster_id: ClusterId(1), node_id: NodeId(2) };
    let options = Options::default().with_segment_bytes(32 << 10);
    for round in 0..4_u64 {
        let mut log = FileLog::open_with(folder.path(), identity, options.clone()).unwrap();
        let state = log.recover().await.unwrap();
        assert_eq!(state.last.index.0, round * 50);
        assert_eq!(state.tail.len() as u64, round * 50 - state.purged.index.0);
        for number in 0..50 {
            let id = LogId::new(Term(round + 1), LogIndex(round * 50 + number + 1));
            let write = LogWrite {
                sequence: 0,
                hard_state: Some(HardState { term: Term(round + 1), voted_for: None }),
                truncate_from: None,
                entries: vec![Entry::new(
                    id,
                    Payload::Command(Bytes::from(vec![number as u8; 100 * number as usize])),
                )]
                .into(),
            };
            log.write(&[write]).await.unwrap();
        }
        let all = log.read(LogIndex(round * 50 + 1), LogIndex(round * 50 + 50), u64::MAX).await.unwrap();
        assert_eq!(all.len(), 50);
        if round > 0 {
            log.purge(LogId::new(Term(round), LogIndex(round * 50))).await.unwrap();
        }
        println!(
            "{:?}",
            std::fs::read_dir(folder.path().join("log"))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect::<Vec<_>>()
        );
    }
}
