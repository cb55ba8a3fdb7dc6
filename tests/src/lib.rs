//! Nothing here: the tests stand in `all/`.
