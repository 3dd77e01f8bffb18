import static io.gatling.javaapi.core.CoreDsl.*;
import static io.gatling.javaapi.http.HttpDsl.*;

import io.gatling.javaapi.core.*;
import io.gatling.javaapi.http.*;
import java.time.Duration;

/**
 * The simulations of `cargo xtask gatling`. None of them names a source address. The target and the numbers are system
 * properties: `target`, `users`, and `ramp` and `hold` in seconds.
 */
public class Simulations {
  static final String target = System.getProperty("target");
  static final int users = Integer.getInteger("users");
  static final Duration ramp = Duration.ofSeconds(Integer.getInteger("ramp"));
  static final Duration length = ramp.plusSeconds(Integer.getInteger("hold"));
  static final HttpProtocolBuilder plain = http.baseUrl("http://" + target).wsBaseUrl("ws://" + target);
  static final HttpProtocolBuilder tls = http.baseUrl("https://" + target);

  /** Gatling ends with an error if a request fails, or if there are fewer requests than users. */
  abstract static class Checked extends Simulation {
    private void run(PopulationBuilder population, HttpProtocolBuilder protocol) {
      setUp(population)
          .protocols(protocol)
          .maxDuration(length)
          .assertions(global().failedRequests().count().is(0L), global().allRequests().count().gte((long) users));
    }

    /** The open model: users arrive at a constant rate, and each executes the chain once. */
    void open(ChainBuilder chain, HttpProtocolBuilder protocol) {
      run(scenario("open").exec(chain).injectOpen(rampUsers(users).during(ramp)), protocol);
    }

    /** The closed model: the number of users grows and then stays, and each repeats the chain until the end. */
    void closed(ChainBuilder chain, HttpProtocolBuilder protocol) {
      var grows = rampConcurrentUsers(1).to(users).during(ramp);
      var stays = constantConcurrentUsers(users).during(length.minus(ramp));
      run(scenario("closed").forever().on(chain).injectClosed(grows, stays), protocol);
    }
  }

  static ChainBuilder get(String path) {
    return exec(http(path).get(path));
  }

  /** Each user sends one request and leaves. */
  public static class OpenOnce extends Checked {{
    open(get("/"), plain);
  }}

  /** Each user keeps its connection until the end. */
  public static class OpenStay extends Checked {{
    open(get("/").pause(length), plain);
  }}

  /** The first answer comes long after the last request, so that all shared connections are in use at once. */
  public static class SharedConnections extends Checked {{
    open(get("/wait/" + length.dividedBy(2).toSeconds()), plain.shareConnections());
  }}

  public static class ClosedKeepAlive extends Checked {{
    closed(get("/").pause(Duration.ofMillis(Integer.getInteger("pause", 1_000))), plain);
  }}

  /** A new connection for each request. */
  public static class ClosedNewConnections extends Checked {{
    closed(get("/close"), plain);
  }}

  public static class WebSocket extends Checked {{
    open(exec(ws("connect").connect("/")).pause(length), plain);
  }}

  public static class TlsClosed extends Checked {{
    closed(get("/").pause(1), tls);
  }}

  public static class Http2 extends Checked {{
    open(get("/").pause(length), tls.enableHttp2());
  }}
}
