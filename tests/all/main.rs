//! End-to-end tests of dbmedic.
