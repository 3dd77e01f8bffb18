import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;

/**
 * Login LIBRARY HOST USER KEYS FOLDER KEY: logs in with each of the keys in a folder (`KEYS` has their names, with commas), and
 * prints a line for each: its name, and `yes` or why not. Names that end in `+passphrase` have the passphrase `open sesame`. Then it
 * logs in with `KEY` and runs the commands of standard input; their output follows after an empty line.
 */
public class Login {
  static final String PASSPHRASE = "open sesame";

  interface Client {
    /** Logs in with a key, runs a command with this input, and returns its output. */
    String run(String host, String user, Path key, String passphrase, String command) throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    Client client = switch (arguments[0]) {
      case "mina" -> new Mina();
      case "sshj" -> new Sshj();
      case "jsch" -> new Jsch();
      default -> throw new IllegalArgumentException(arguments[0]);
    };
    String host = arguments[1], user = arguments[2], all = arguments[3];
    String commands = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
    for (String name : all.split(",")) {
      Path key = Path.of(arguments[4], name);
      String passphrase = name.endsWith("+passphrase") ? PASSPHRASE : null;
      try {
        String said = client.run(host, user, key, passphrase, "id -un").strip();
        System.out.println(name + " " + (said.equals(user) ? "yes" : "said " + said));
      } catch (Exception | LinkageError error) {
        System.out.println(name + " " + oneLine(error));
      }
    }
    System.out.println();
    System.out.print(client.run(host, user, Path.of(arguments[4], arguments[5]), null, commands));
    System.out.flush();
    System.exit(0);
  }

  static String oneLine(Throwable error) {
    return (error.getClass().getSimpleName() + ": " + error.getMessage()).replaceAll("\\s+", " ");
  }

  /** Apache MINA SSHD. */
  static class Mina implements Client {
    final org.apache.sshd.client.SshClient client = org.apache.sshd.client.SshClient.setUpDefaultClient();

    Mina() {
      client.setServerKeyVerifier(org.apache.sshd.client.keyverifier.AcceptAllServerKeyVerifier.INSTANCE);
      client.setKeyIdentityProvider(org.apache.sshd.common.keyprovider.KeyIdentityProvider.EMPTY_KEYS_PROVIDER);
      client.start();
    }

    public String run(String host, String user, Path key, String passphrase, String command) throws Exception {
      Duration patience = Duration.ofSeconds(15);
      try (var session = client.connect(user, host, 22).verify(patience).getSession()) {
        var provider = new org.apache.sshd.common.keyprovider.FileKeyPairProvider(key);
        if (passphrase != null) {
          provider.setPasswordFinder(org.apache.sshd.common.config.keys.FilePasswordProvider.of(passphrase));
        }
        for (var pair : provider.loadKeys(session)) session.addPublicKeyIdentity(pair);
        session.auth().verify(patience);
        var output = new ByteArrayOutputStream();
        try (var channel = session.createExecChannel(command)) {
          channel.setOut(output);
          channel.setErr(output);
          channel.open().verify(patience);
          channel.waitFor(EnumSet.of(org.apache.sshd.client.channel.ClientChannelEvent.CLOSED), patience);
        }
        return output.toString(StandardCharsets.UTF_8);
      }
    }
  }

  static class Sshj implements Client {
    public String run(String host, String user, Path key, String passphrase, String command) throws Exception {
      try (var client = new net.schmizz.sshj.SSHClient()) {
        client.addHostKeyVerifier(new net.schmizz.sshj.transport.verification.PromiscuousVerifier());
        client.connect(host);
        var keys = passphrase == null ? client.loadKeys(key.toString()) : client.loadKeys(key.toString(), passphrase);
        client.authPublickey(user, keys);
        try (var session = client.startSession(); var running = session.exec(command)) {
          return read(running.getInputStream()) + read(running.getErrorStream());
        }
      }
    }
  }

  /** Only what both JSch libraries have. */
  static class Jsch implements Client {
    public String run(String host, String user, Path key, String passphrase, String command) throws Exception {
      var jsch = new com.jcraft.jsch.JSch();
      if (passphrase == null) jsch.addIdentity(key.toString());
      else jsch.addIdentity(key.toString(), passphrase);
      var session = jsch.getSession(user, host, 22);
      session.setConfig("StrictHostKeyChecking", "no");
      session.setConfig("PreferredAuthentications", "publickey");
      session.connect(15_000);
      try {
        var channel = (com.jcraft.jsch.ChannelExec) session.openChannel("exec");
        channel.setCommand(command);
        InputStream output = channel.getInputStream();
        InputStream errors = channel.getErrStream();
        channel.connect(15_000);
        return read(output) + read(errors);
      } finally {
        session.disconnect();
      }
    }
  }

  static String read(InputStream input) throws Exception {
    return new String(input.readAllBytes(), StandardCharsets.UTF_8);
  }
}
