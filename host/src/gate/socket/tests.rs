use std::fs;
use std::sync::Mutex;

use super::*;

/// A server that answers nothing, and who waits for an answer.
fn silent(state_dir: &Path) -> (Server, Arc<Mutex<Vec<mpsc::Sender<Reply>>>>) {
    let waiting: Arc<Mutex<Vec<mpsc::Sender<Reply>>>> = Arc::default();
    let ask = {
        let waiting = Arc::clone(&waiting);
        move |(_, answer)| {
            waiting.lock().unwrap().push(answer);
            true
        }
    };
    (Server::start(state_dir, ask).unwrap(), waiting)
}

fn connect(state_dir: &Path) -> UnixStream {
    UnixStream::connect(state_dir.join(NAME)).unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "waited for {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_hangs_up_makes_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let (server, waiting) = silent(dir.path());
    let peers: Vec<UnixStream> = (0..PEERS)
        .map(|_| {
            let mut peer = connect(dir.path());
            write_line(&mut peer, &Request::Status).unwrap();
            peer
        })
        .collect();
    let count = || waiting.lock().unwrap().len();
    until("every peer to be heard", || count() == PEERS);
    drop(peers);
    until("a peer to be heard", || {
        let mut peer = connect(dir.path());
        write_line(&mut peer, &Request::Status).is_ok() && count() > PEERS
    });
    drop(server);
}

#[test]
fn who_waits_is_told_when_dbmedic_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (server, waiting) = silent(dir.path());
    let mut peer = connect(dir.path());
    write_line(&mut peer, &Request::Status).unwrap();
    until("the peer to be heard", || {
        !waiting.lock().unwrap().is_empty()
    });
    waiting.lock().unwrap().clear();
    let said: Reply = read_line(&mut BufReader::new(&peer), LONGEST_REPLY).unwrap();
    assert_eq!(said, Reply::Stopping);
    drop(server);
}

#[test]
fn a_server_whose_file_is_gone_stops_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = silent(dir.path());
    fs::remove_file(dir.path().join(NAME)).unwrap();
    let stopping = thread::spawn(move || drop(server));
    until("the server to stop", || stopping.is_finished());
}

#[test]
fn a_socket_that_somebody_removed_is_bound_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, waiting) = silent(dir.path());
    fs::remove_file(dir.path().join(NAME)).unwrap();
    until("the socket to be there", || {
        UnixStream::connect(dir.path().join(NAME)).is_ok()
    });
    write_line(&mut connect(dir.path()), &Request::Status).unwrap();
    until("the peer to be heard", || {
        !waiting.lock().unwrap().is_empty()
    });
    drop(server);
}

#[test]
fn a_request_is_cut_off_at_its_longest() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = silent(dir.path());
    let mut peer = connect(dir.path());
    let longest = usize::try_from(LONGEST_REQUEST).unwrap();
    peer.write_all(&vec![b' '; longest]).unwrap();
    let said: Reply = read_line(&mut BufReader::new(&peer), LONGEST_REPLY).unwrap();
    let Reply::Error(why) = said else {
        panic!("{said:?}")
    };
    assert!(why.contains("longer than 1048576 bytes"), "{why}");
    drop(server);
}
