//! The custom resources: types, conditions, shared fragments. No I/O; imports no other room.
