//! Only benches; see `benches/`.
