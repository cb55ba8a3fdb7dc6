//! dbmedic's default policy.
