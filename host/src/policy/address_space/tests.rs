use super::*;
use crate::policy::Limits;

fn limits() -> Limits {
    Limits {
        start_deadline_ms: 30_000,
        ..Limits::default()
    }
}

#[test]
fn the_widest_that_fits_is_taken() {
    let bytes = |layout: Layout| layout.bytes(&limits());
    assert!(bytes(Layout::Wide) > 128 << 30);
    assert!(bytes(Layout::Narrow) < 600 << 20);
    assert!(bytes(Layout::OnDemand) < 32 << 20);
    let fits = |room: u64| engine_in(Some(room), &Config::new(), &limits());
    assert!(fits(bytes(Layout::Narrow) + REST_BYTES).is_ok());
    assert!(fits(bytes(Layout::OnDemand) + REST_BYTES).is_ok());
    let error = fits(bytes(Layout::OnDemand)).err().unwrap().to_string();
    assert!(
        error.contains("policies need 275 MiB") && error.contains("LimitAS"),
        "{error}"
    );
    assert!(engine_in(None, &Config::new(), &limits()).is_ok());
}
