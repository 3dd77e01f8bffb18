//! Opens a session of the SSH user and looks around in it: the limit of open files, the programs that Gatling needs, and
//! whether programs run from the folder in which Gatling unpacks them.

use std::{collections::BTreeMap, io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};
use trunnion_host::Config;

use super::{limits::Limits, verdict::Check};

/// Prints lines of a word, a space and an answer. `runuser` opens a PAM session, as sshd does, so the limits are those of a
/// login.
const SCRIPT: &str = r#"
echo "hard $(ulimit -Hn)"
echo "soft $(ulimit -Sn)"
for program in java jq curl; do
  path=$(command -v "$program")
  # Bash also finds files that cannot be executed.
  [[ -x $path ]] || path=
  echo "$program $path"
done
java -version 2>&1 | while read -r line; do echo "version $line"; done
trial=
trap 'rm -f "$trial"' EXIT
if ! trial=$(mktemp "$1/.trunnion-check.XXXXXX" 2> /dev/null); then
  echo "executables is not writable"
elif printf '#!/bin/sh\n' > "$trial" && chmod u+x "$trial" && "$trial" 2> /dev/null; then
  echo "executables yes"
else
  echo "executables runs no programs"
fi
"#;

/// The search path of commands that come by SSH.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// PAM, a shell and the start of Java take less, even on a busy host.
const LONGEST: Duration = Duration::from_mins(1);

/// A session that prints more bytes is an error.
const MOST: u64 = 64 * 1024;

/// What a session of the SSH user gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// The hard limit of open files; `None` if there is none but `fs.nr_open`.
    hard: Option<u64>,
    soft: Option<u64>,
    /// Paths of programs, by name.
    programs: BTreeMap<String, String>,
    /// The lines that `java -version` printed.
    version: Vec<String>,
    /// `yes`, or what is wrong with the folder for executables.
    executables: String,
}

impl Session {
    /// Opens a session and runs [`SCRIPT`].
    pub(crate) async fn look(config: &Config) -> Result<Self, String> {
        // `setsid` detaches it from the terminal: programs of the user could otherwise insert input there.
        let mut command = Command::new("setsid");
        command.args(["runuser", "-u", &config.ssh.user, "--", "bash", "-c", SCRIPT, "bash"]);
        command.arg(&config.executable_dir);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        match timeout(LONGEST, answer(command)).await {
            Err(_) => Err(format!("it did not finish within {} s", LONGEST.as_secs())),
            Ok(answer) => Ok(Self::parse(&answer?)),
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut session = Self::default();
        for (word, answer) in text.lines().filter_map(|line| line.split_once(' ')) {
            match word {
                "hard" => session.hard = answer.parse().ok(),
                "soft" => session.soft = answer.parse().ok(),
                "version" => session.version.push(answer.to_owned()),
                "executables" => answer.clone_into(&mut session.executables),
                "java" | "jq" | "curl" if !answer.is_empty() => {
                    session.programs.insert(word.to_owned(), answer.to_owned());
                }
                _ => {}
            }
        }
        session
    }

    /// How many files one process of the user can open. Java raises its soft limit to the hard limit.
    pub(super) fn descriptors(&self, limits: &Limits) -> Option<u64> {
        let host = limits.open_files.map(|(_, most)| most);
        [self.hard.or(limits.nr_open), host].into_iter().flatten().min()
    }

    /// Whether all programs and the folder are as promised, so that the session need not be opened again soon.
    pub(crate) fn is_good(&self, config: &Config) -> bool {
        self.programs.len() == 3 && self.executables == "yes" && self.java() == Some(config.java.into())
    }

    /// The major version of Java: 17 for `17.0.9`, 8 for `1.8.0_392`.
    fn java(&self) -> Option<u32> {
        let quoted = self.version.iter().find_map(|line| line.split_once(" version \"")?.1.split_once('"'))?.0;
        let mut numbers = quoted.split(['.', '-', '_', '+']).map(str::parse);
        match numbers.next()?.ok()? {
            1 => numbers.next()?.ok(),
            major => Some(major),
        }
    }
}

/// The stdout of the command; if it fails, the error is the last line of its stderr. Other processes of the user can interfere
/// with the session, so its output is limited.
async fn answer(mut command: Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("cannot start `{program}`: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // If one of them is too long, both end, and the command is killed.
    let (stdout, stderr) =
        tokio::try_join!(whole(stdout), whole(stderr)).map_err(|error: io::Error| error.to_string())?;
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(stderr.lines().next_back().map_or_else(|| status.to_string(), str::to_owned));
    }
    Ok(stdout)
}

/// The whole text without control characters; an error if it is too long.
async fn whole(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(MOST + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("it printed more than {MOST} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).chars().filter(|&c| c == '\n' || !c.is_control()).collect())
}

pub(super) fn judge(config: &Config, limits: &Limits, session: &Result<Session, String>) -> Vec<Check> {
    let user = &config.ssh.user;
    let session = match session {
        Ok(session) => session,
        Err(why) => {
            return vec![Check::failed(
                "session",
                format!("`{user}` cannot open a session: {why}"),
                "run `trunnion-generator setup` first, which creates the user, and run the check as root",
            )];
        }
    };
    vec![
        Check::ok("session", format!("`{user}` can open a session")),
        descriptors(config, limits, session),
        java(config, session),
        program("jq", user, session),
        program("curl", user, session),
        executables(config, session),
    ]
}

fn descriptors(config: &Config, limits: &Limits, session: &Session) -> Check {
    const NAME: &str = "descriptors";
    const HELP: &str = "run `trunnion-generator setup` and log in again; sshd needs `UsePAM yes`";
    let promised = config.connections.total;
    let user = &config.ssh.user;
    let Some(most) = session.descriptors(limits) else {
        return Check::failed(NAME, format!("cannot read the limit of open files of `{user}`"), HELP);
    };
    if most >= promised {
        return Check::ok(NAME, format!("a process of `{user}` can open {most} files"));
    }
    match limits.open_files {
        Some((_, host)) if host == most => Check::failed(
            NAME,
            format!("the whole host can open {most} files, {promised} connections were promised"),
            "raise `fs.file-max`",
        ),
        _ => Check::failed(
            NAME,
            format!("a process of `{user}` can open {most} files, {promised} connections were promised"),
            HELP,
        ),
    }
}

fn java(config: &Config, session: &Session) -> Check {
    const NAME: &str = "java";
    let promised = u32::from(config.java);
    let install =
        format!("install `java-{promised}-amazon-corretto-headless`, and make sure that `java` starts this version");
    let Some(path) = session.programs.get(NAME) else {
        return Check::failed(NAME, format!("`{}` finds no `java`", config.ssh.user), install);
    };
    match session.java() {
        Some(version) if version == promised => Check::ok(NAME, format!("version {version}, `{path}`")),
        Some(version) => {
            Check::failed(NAME, format!("`{path}` is version {version}, {promised} was promised"), install)
        }
        None => Check::failed(NAME, format!("`{path} -version` does not print its version"), install)
            .with(session.version.iter().take(3).cloned().collect()),
    }
}

fn program(name: &'static str, user: &str, session: &Session) -> Check {
    match session.programs.get(name) {
        Some(path) => Check::ok(name, format!("`{path}`")),
        None => Check::failed(
            name,
            format!("`{user}` finds no `{name}`, which Gatling's start script needs"),
            format!("install `{name}`"),
        ),
    }
}

fn executables(config: &Config, session: &Session) -> Check {
    const NAME: &str = "executables";
    let folder = config.executable_dir.display();
    let user = &config.ssh.user;
    match session.executables.as_str() {
        "yes" => Check::ok(NAME, format!("`{user}` can run programs from `{folder}`")),
        why => Check::failed(
            NAME,
            format!("`{user}` cannot use `{folder}`: it {}", if why.is_empty() { "was not tested" } else { why }),
            "make the user the owner of the folder, and mount its file system without `noexec`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &str = "hard 15000\nsoft 1024\njava /usr/bin/java\njq \ncurl /usr/bin/curl\n\
        version openjdk version \"17.0.9\" 2023-10-17\nversion OpenJDK Runtime Environment\nexecutables yes\n";

    #[test]
    fn the_answers_of_a_session_are_read() {
        let session = Session::parse(ANSWERS);
        assert_eq!((session.hard, session.soft, session.java()), (Some(15_000), Some(1024), Some(17)));
        assert_eq!(session.programs.keys().collect::<Vec<_>>(), ["curl", "java"]);
        assert_eq!(session.executables, "yes");
    }

    #[test]
    fn java_prints_its_version_in_several_forms() {
        let java = |line: &str| Session::parse(&format!("version {line}\n")).java();
        assert_eq!(java("java version \"1.8.0_392\""), Some(8));
        assert_eq!(java("openjdk version \"21\" 2023-09-19 LTS"), Some(21));
        assert_eq!(java("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(java("bash: line 1: java: command not found"), None);
    }

    #[test]
    fn the_smallest_limit_of_open_files_counts() {
        let session = Session::parse("hard unlimited\n");
        let limits = Limits { nr_open: Some(1_000), open_files: Some((1, 2_000)), ..Limits::default() };
        assert_eq!(session.descriptors(&limits), Some(1_000));
        assert_eq!(Session::parse("hard 3000\n").descriptors(&limits), Some(2_000));
    }

    #[tokio::test]
    async fn a_session_that_prints_without_end_is_killed() {
        let command = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        assert_eq!(answer(command("echo hard 7; echo more >&2")).await, Ok("hard 7\n".to_owned()));
        assert_eq!(answer(command(r"echo one >&2; printf '\033[2Jtwo' >&2; exit 3")).await, Err("[2Jtwo".to_owned()));
        for endless in ["while :; do echo more; done", "while :; do echo more >&2; done"] {
            assert_eq!(answer(command(endless)).await, Err(format!("it printed more than {MOST} bytes")));
        }
    }
}
