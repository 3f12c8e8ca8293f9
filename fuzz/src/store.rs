//! What the session store reads back from its log after a crash.

use portreeve_store::conformance::{decode_ops, encode_ops};

/// The number of operations, four bytes, and the operations. What is accepted is the one byte form of what was read.
pub fn log_operations(bytes: &[u8]) {
    let Ok(ops) = decode_ops(bytes) else { return };
    assert!(ops.len() < bytes.len(), "an operation takes at least a byte");
    assert_eq!(encode_ops(&ops), bytes);
}
