use super::*;

#[test]
fn io_uring_is_here() {
    check_io_uring().expect("these tests need it, as the server does");
}

#[test]
fn an_address_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let error = listen("--peer-addr", address).expect_err("taken");
    assert!(matches!(error, PreflightError::AddressInUse { flag: "--peer-addr", .. }), "{error}");
    let nowhere = "203.0.113.1:1".parse().expect("an address of nobody here");
    let error = listen("--client-addr", nowhere).expect_err("not ours");
    assert!(matches!(error, PreflightError::Address { .. }), "{error}");
}

#[test]
fn a_directory_in_memory_is_refused_by_name() {
    let error = check_disk(Path::new("/dev/shm")).expect_err("tmpfs");
    assert!(error.to_string().contains("tmpfs"), "{error}");
}

#[test]
fn a_disk_passes_and_is_left_as_it_was() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir_in(target).expect("the tree is writable");
    check_disk(directory.path()).expect("the tree lies on a disk");
    assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 0);
}
