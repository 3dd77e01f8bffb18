use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A folder with these files in it.
#[expect(clippy::disallowed_methods, reason = "files in the test's own folder")]
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn no_state() -> StateLocation {
    StateLocation::File(PathBuf::new())
}

fn home_in(folder: &Path) -> Result<String, String> {
    of(&no_state(), folder).map_err(|found| found.message)
}

fn with_origin(url: &str) -> TempDir {
    folder(&[("repo/.git/config", &format!("[remote \"origin\"]\n\turl = {url}\n")), ("repo/stacks/x/stack.yaml", "")])
}

#[test]
fn all_forms_of_an_address_give_the_same_home() {
    for url in [
        "https://github.com/acme/infra.git",
        "https://github.com/acme/infra",
        "https://github.com/acme/infra/",
        "https://github.com/acme/infra.git/",
        "https://GitHub.com//acme//infra.git",
        "https://github.com:443/acme/infra.git",
        "https://github.com./acme/infra.git",
        "https://ann@github.com/acme/infra.git",
        "https://ann:s3cret@github.com/acme/infra.git",
        "https://s3cret@github.com/acme/infra.git",
        "https://x-access-token:s3cret@github.com:443/acme/infra.git",
        "https://github.com/acme/infra.git?token=s3cret",
        "https://github.com/acme/infra.git#s3cret",
        "https://github.com/acme/infr%61.git",
        "http://github.com/acme/infra",
        "git://github.com/acme/infra.git",
        "ssh://git@github.com/acme/infra.git",
        "ssh://git@github.com:22/acme/infra.git",
        "ssh://git:s3cret@github.com:2222/acme/infra.git",
        "ssh://github.com/acme/infra",
        "git+ssh://git@github.com/acme/infra.git",
        "git@github.com:acme/infra.git",
        "git@github.com:/acme/infra.git",
        "git@github.com:acme/infra",
        "github.com:acme/infra.git",
        "s3cret@GITHUB.com:acme/infra.git/",
        "[git@github.com:2222]:acme/infra.git",
        "git@[github.com:2222]:acme/infra.git",
    ] {
        let repository = with_origin(url);
        let home = home_in(&repository.path().join("repo/stacks/x"));
        assert_eq!(home.as_deref(), Ok("github.com/acme/infra/stacks/x"), "{url}");
    }
}

#[test]
fn different_addresses_give_different_homes() {
    for (url, expected) in [
        ("https://gitlab.example.com/group/sub/infra.git", "gitlab.example.com/group/sub/infra"),
        ("ssh://git@[::1]:22/infra.git", "::1/infra"),
        ("git@[2001:db8::1]:acme/infra.git", "2001:db8::1/acme/infra"),
        ("host:~ann/infra.git", "host/~ann/infra"),
        ("https://dev.azure.com/acme/web/_git/infra", "dev.azure.com/acme/web/_git/infra"),
        ("https://acme@dev.azure.com/acme/web/_git/infra", "dev.azure.com/acme/web/_git/infra"),
        ("git@ssh.dev.azure.com:v3/acme/web/infra", "ssh.dev.azure.com/v3/acme/web/infra"),
        ("codecommit::eu-west-3://infra", "git-codecommit.eu-west-3.amazonaws.com/v1/repos/infra"),
        ("codecommit::eu-west-3://profile@infra", "git-codecommit.eu-west-3.amazonaws.com/v1/repos/infra"),
        (
            "https://git-codecommit.eu-west-3.amazonaws.com/v1/repos/infra",
            "git-codecommit.eu-west-3.amazonaws.com/v1/repos/infra",
        ),
        ("gcrypt::https://ann:s3cret@example.com/infra.git", "example.com/infra"),
        ("file:///srv/git/infra.git", "/srv/git/infra"),
        ("file://files/git/infra.git", "files/git/infra"),
        ("/srv/git/infra.git", "/srv/git/infra"),
        ("/srv/git/./x/../infra/.git", "/srv/git/infra"),
    ] {
        let repository = with_origin(url);
        let home = home_in(&repository.path().join("repo"));
        let plain = expected.replace('~', "_");
        let home = home.unwrap();
        let is_as_expected = if plain == expected { home == expected } else { home.starts_with(&plain) };
        assert!(is_as_expected, "{url}: {home}");
    }
    let repository = with_origin("../infra.git");
    let expected = fs::canonicalize(repository.path()).unwrap().join("infra").display().to_string();
    assert_eq!(home_in(&repository.path().join("repo")), Ok(expected));
}

#[test]
fn an_address_that_cannot_be_understood_is_an_error_that_does_not_show_it() {
    for url in [
        "https://ann:s3cret/x@github.com/acme/infra.git",
        "https://ann:123/s3cret@github.com/acme/infra.git",
        "ann:s3cret@github.com:acme/infra.git",
        "https://github.com:port-s3cret/acme/infra.git",
        "https:///s3cret",
        "https://github.com/",
        "https://git hub.com/s3cret",
        "ext::ssh -o s3cret %S infra",
        "secrets::s3cret",
    ] {
        let repository = with_origin(url);
        let message = home_in(&repository.path().join("repo")).unwrap_err();
        assert!(message.contains("`origin`") && message.contains(".git/config"), "{url}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn a_home_contains_only_host_and_path_of_an_address() {
    for url in ["https://s3cret:s3cret@h/a", "ssh://s3cret@h:22/a", "s3cret@h:a", "https://h/a?s3cret=s3cret#s3cret"] {
        let repository = with_origin(url);
        assert_eq!(home_in(&repository.path().join("repo")).as_deref(), Ok("h/a"), "{url}");
    }
}

#[test]
fn only_the_first_address_of_origin_counts() {
    let home = |config: &str| {
        let repository = folder(&[(".git/config", config)]);
        let folder = fs::canonicalize(repository.path()).unwrap().display().to_string();
        home_in(repository.path()).map(|home| home.replace(&folder, "the folder"))
    };
    let other = "[remote \"upstream\"]\n\turl = https://h/upstream\n[Remote \"Origin\"]\n\turl = https://h/Origin\n";
    assert_eq!(home(other).as_deref(), Ok("the folder"));
    assert_eq!(home("[core]\n\tbare = false\n[remote \"origin\"]\n\tfetch = x\n").as_deref(), Ok("the folder"));
    assert_eq!(home("[remote \"origin\"]\n\turl = https://h/a\n\turl = https://h/b\n").as_deref(), Ok("h/a"));
    assert_eq!(home("[remote \"origin\"]\n\turl = https://h/a\n\turl =\n\turl = https://h/b\n").as_deref(), Ok("h/b"));
    assert_eq!(home("[REMOTE \"origin\"]\n\tURL = \"https://h/a\" ; theirs\n").as_deref(), Ok("h/a"));
    let renamed = "[url \"https://other/\"]\n\tinsteadOf = https://h/\n[remote \"origin\"]\n\turl = https://h/a\n";
    assert_eq!(home(renamed).as_deref(), Ok("h/a"));
    assert_eq!(
        home("[include]\n\tpath = /dev/null/nowhere\n[remote \"origin\"]\n\turl = https://h/a\n").as_deref(),
        Ok("h/a")
    );
}

#[test]
fn worktrees_and_submodules_belong_to_their_repository() {
    let config = "[remote \"origin\"]\n\turl = git@h:acme/infra.git\n";
    let main = folder(&[
        ("main/.git/config", config),
        ("main/.git/HEAD", "ref: refs/heads/main\n"),
        ("main/.git/worktrees/tree/commondir", "../..\n"),
        ("main/.git/worktrees/tree/HEAD", "ref: refs/heads/tree\n"),
        ("main/.git/modules/sub/config", "[remote \"origin\"]\n\turl = git@h:acme/sub.git\n"),
        ("tree/loadtest/stack.yaml", ""),
        ("main/sub/.git", "gitdir: ../.git/modules/sub\n"),
        ("main/sub/x/stack.yaml", ""),
    ]);
    let worktree = main.path().join("main/.git/worktrees/tree");
    #[expect(clippy::disallowed_methods, reason = "a file in the test's own folder")]
    fs::write(main.path().join("tree/.git"), format!("gitdir: {}\n", worktree.display())).unwrap();
    assert_eq!(home_in(&main.path().join("tree/loadtest")).as_deref(), Ok("h/acme/infra/loadtest"));
    assert_eq!(home_in(&main.path().join("main/sub/x")).as_deref(), Ok("h/acme/sub/x"));
    symlink(main.path().join("tree"), main.path().join("link")).unwrap();
    assert_eq!(home_in(&main.path().join("link/loadtest")).as_deref(), Ok("h/acme/infra/loadtest"));
}

#[test]
fn without_a_repository_or_an_origin_the_folder_is_the_home() {
    for files in [
        &[("x/stack.yaml", "")][..],
        &[("x/stack.yaml", ""), (".git/HEAD", "ref: refs/heads/main\n")],
        &[("x/stack.yaml", ""), (".git/config", "")],
        &[("x/stack.yaml", ""), (".git/something", "that is no repository")],
    ] {
        let place = folder(files);
        let expected = fs::canonicalize(place.path()).unwrap().join("x").display().to_string();
        assert_eq!(home_in(&place.path().join("x")).as_deref(), Ok(expected.as_str()), "{files:?}");
    }
}

#[test]
fn a_repository_that_cannot_be_read_is_an_error_and_never_another_home() {
    for (files, expected) in [
        (&[(".git/config", "[remote \"origin\n\turl")][..], "is not a valid Git configuration"),
        (&[(".git/config", "\0\u{1}\u{2}")], "is not a valid Git configuration"),
        (&[(".git", "gitdir: nowhere\n")], "there is no such file"),
        (&[(".git", "some text")], "does not name a folder"),
        (&[(".git", "gitdir: real\n"), ("real/commondir", "nowhere\n"), ("real/config", "")], "there is no such file"),
        (&[(".git", "gitdir: real\n"), ("real/commondir", "\n"), ("real/config", "")], "empty"),
        (&[(".git/config/file", "")], "it is not a regular file"),
    ] {
        let place = folder(files);
        let message = home_in(place.path()).unwrap_err();
        assert!(message.contains(expected) && message.contains("which repository"), "{files:?}: {message}");
        let s3 = StateLocation::S3 { bucket: "acme".into(), key: "state/x.json".into() };
        assert_eq!(of(&s3, place.path()).unwrap(), "s3://acme/state", "the state in S3 determines the home");
    }
    let dangling = folder(&[("x", "")]);
    symlink("nowhere", dangling.path().join(".git")).unwrap();
    assert!(home_in(dangling.path()).unwrap_err().contains("there is no such file"));
}

#[test]
fn a_configuration_without_permission_is_an_error() {
    let place = folder(&[(".git/config", "[remote \"origin\"]\n\turl = https://h/a\n")]);
    let git = place.path().join(".git");
    fs::set_permissions(&git, fs::Permissions::from_mode(0o000)).unwrap();
    let is_refused = fs::read(git.join("config")).is_err();
    let home = home_in(place.path());
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    // Root can read every file.
    let expected = if is_refused { Err("permission is denied") } else { Ok("h/a") };
    match (home, expected) {
        (Ok(home), Ok(expected)) => assert_eq!(home, expected),
        (Err(message), Err(expected)) => assert!(message.contains(expected), "{message}"),
        (home, expected) => panic!("{home:?} instead of {expected:?}"),
    }
}

#[test]
fn the_state_in_s3_is_the_home() {
    for (bucket, key, expected) in [
        ("acme", "loadtest.json", "s3://acme"),
        ("acme", "state/loadtest.json", "s3://acme/state"),
        ("acme", "a/b/loadtest.json", "s3://acme/a/b"),
    ] {
        let state = StateLocation::S3 { bucket: bucket.into(), key: key.into() };
        assert_eq!(of(&state, Path::new("")).unwrap(), expected);
    }
}

#[test]
fn invalid_tag_characters_are_replaced_and_a_digest_is_added() {
    let long = "x".repeat(500);
    let homes = ["/a b", "/a_b", "/a\tb", "/a\u{e4}b", "/a\u{65}\u{301}b", &long, &long[..300], &long[..201]];
    let tags: Vec<String> = homes.iter().map(|home| as_tag(home)).collect();
    for (home, tag) in homes.iter().zip(&tags) {
        assert!(tag.is_ascii() && tag.len() <= LONGEST, "{home}: {tag}");
        assert_eq!(tags.iter().filter(|other| *other == tag).count(), 1, "{tag}");
    }
    assert_eq!(as_tag(&long[..200]), long[..200]);
    assert!(as_tag("/a b").starts_with("/a_b-"), "{}", as_tag("/a b"));
}

proptest! {
    #[test]
    fn no_address_makes_it_panic(url in "\\PC{0,60}", scheme in "(https://|ssh://|file://|git@|)") {
        let _ = address(&format!("{scheme}{url}"), Path::new("/repo"));
    }

    #[test]
    fn users_and_passwords_never_show(user in "[A-Z0-9]{8,20}", secret in "[A-Z0-9]{8,20}") {
        for url in [
            format!("https://{user}:{secret}@github.com/acme/infra.git"),
            format!("ssh://{user}:{secret}@github.com:22/acme/infra.git"),
            format!("{user}@github.com:acme/infra.git"),
        ] {
            let address = address(&url, Path::new("/repo"));
            prop_assert_eq!(address.as_deref(), Some("github.com/acme/infra"));
        }
    }

    #[test]
    fn every_home_fits_every_service(home in "\\PC{0,300}") {
        let tag = as_tag(&home);
        prop_assert!(tag.len() <= LONGEST);
        prop_assert!(tag.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.:/=+-@".contains(letter)));
    }
}
