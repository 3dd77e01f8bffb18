import com.sun.net.httpserver.HttpServer;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.*;
import io.netty.channel.epoll.EpollChannelOption;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.handler.codec.http.*;
import io.netty.handler.codec.http.websocketx.*;
import io.netty.handler.codec.http2.*;
import io.netty.handler.ssl.*;
import io.netty.util.ReferenceCountUtil;
import java.io.FileInputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.security.KeyStore;
import java.util.List;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.Collectors;
import javax.net.ssl.KeyManagerFactory;

/**
 * `Target ADDRESS PORT LOOPS KEYSTORE PASSWORD`: HTTP/1.1 and WebSocket at PORT; HTTP/1.1 and HTTP/2 with TLS at PORT + 1; and
 * at PORT + 2, what it counted, as JSON. `/wait/N` answers after N seconds, `/close` closes the connection, and all other paths
 * answer at once.
 *
 * <p>Every event loop accepts its own connections, so that it can have a table of descriptors of its own.
 */
public class Target {
  static final ConcurrentHashMap<InetAddress, Source> sources = new ConcurrentHashMap<>();
  static final LongAdder requests = new LongAdder();
  static final LongAdder websockets = new LongAdder();
  static final AtomicInteger open = new AtomicInteger();
  static final AtomicInteger most = new AtomicInteger();

  static class Source {
    final LongAdder accepted = new LongAdder();
    final LongAdder open = new LongAdder();
  }

  public static void main(String[] arguments) throws Exception {
    var address = arguments[0];
    int port = Integer.parseInt(arguments[1]);
    var keys = KeyStore.getInstance("PKCS12");
    try (var file = new FileInputStream(arguments[3])) {
      keys.load(file, arguments[4].toCharArray());
    }
    var managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    managers.init(keys, arguments[4].toCharArray());
    var protocols = new ApplicationProtocolConfig(
        ApplicationProtocolConfig.Protocol.ALPN,
        ApplicationProtocolConfig.SelectorFailureBehavior.NO_ADVERTISE,
        ApplicationProtocolConfig.SelectedListenerFailureBehavior.ACCEPT,
        ApplicationProtocolNames.HTTP_2,
        ApplicationProtocolNames.HTTP_1_1);
    var tls = SslContextBuilder.forServer(managers).applicationProtocolConfig(protocols).build();

    for (int number = 0; number < Integer.parseInt(arguments[2]); number++) {
      var name = "target-" + number;
      ThreadFactory named = work -> new Thread(work, name);
      var loop = new MultiThreadIoEventLoopGroup(1, named, EpollIoHandler.newFactory());
      // In the loop's own thread, whose table gets the descriptors of the listening sockets.
      var bound = loop.submit(() -> List.of(listen(loop, address, port, null), listen(loop, address, port + 1, tls)));
      for (var listener : bound.get()) {
        listener.sync();
      }
    }
    var counts = HttpServer.create(new InetSocketAddress(address, port + 2), 0);
    counts.createContext("/", exchange -> {
      var body = counted().getBytes();
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    counts.start();
  }

  static String counted() {
    var each = sources.entrySet().stream().map(entry -> {
      var source = entry.getValue();
      return String.format("\"%s\":[%d,%d]", entry.getKey().getHostAddress(), source.accepted.sum(), source.open.sum());
    });
    return String.format(
        "{\"requests\":%d,\"websockets\":%d,\"most\":%d,\"sources\":{%s}}",
        requests.sum(), websockets.sum(), most.get(), each.collect(Collectors.joining(",")));
  }

  static ChannelFuture listen(EventLoopGroup loop, String address, int port, SslContext tls) {
    var initializer = new ChannelInitializer<Channel>() {
      @Override
      protected void initChannel(Channel channel) {
        count(channel);
        if (tls == null) {
          channel.pipeline().addLast(new HttpServerCodec(), ANSWER);
        } else {
          channel.pipeline().addLast(tls.newHandler(channel.alloc()), new Negotiated());
        }
      }
    };
    return new ServerBootstrap()
        .group(loop)
        .channel(EpollServerSocketChannel.class)
        .option(EpollChannelOption.SO_REUSEPORT, true)
        .option(ChannelOption.SO_BACKLOG, 65_535)
        .childHandler(initializer)
        .bind(address, port);
  }

  static void count(Channel channel) {
    var source = sources.computeIfAbsent(
        ((InetSocketAddress) channel.remoteAddress()).getAddress(), address -> new Source());
    source.accepted.increment();
    source.open.increment();
    most.accumulateAndGet(open.incrementAndGet(), Math::max);
    channel.closeFuture().addListener(closed -> {
      source.open.decrement();
      open.decrementAndGet();
    });
  }

  static class Negotiated extends ApplicationProtocolNegotiationHandler {
    Negotiated() {
      super(ApplicationProtocolNames.HTTP_1_1);
    }

    @Override
    protected void configurePipeline(ChannelHandlerContext context, String protocol) {
      if (!protocol.equals(ApplicationProtocolNames.HTTP_2)) {
        context.pipeline().addLast(new HttpServerCodec(), ANSWER);
        return;
      }
      var stream = new ChannelInitializer<Channel>() {
        @Override
        protected void initChannel(Channel channel) {
          channel.pipeline().addLast(new Http2StreamFrameToHttpObjectCodec(true), ANSWER);
        }
      };
      context.pipeline().addLast(Http2FrameCodecBuilder.forServer().build(), new Http2MultiplexHandler(stream));
    }
  }

  static final Answer ANSWER = new Answer();

  @ChannelHandler.Sharable
  static class Answer extends ChannelInboundHandlerAdapter {
    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
      try {
        if (message instanceof HttpRequest request) {
          answer(context, request);
        } else if (message instanceof PingWebSocketFrame ping) {
          context.writeAndFlush(new PongWebSocketFrame(ping.content().retain()));
        } else if (message instanceof CloseWebSocketFrame close) {
          context.writeAndFlush(close.retain()).addListener(ChannelFutureListener.CLOSE);
        }
      } finally {
        ReferenceCountUtil.release(message);
      }
    }

    static void answer(ChannelHandlerContext context, HttpRequest request) {
      var path = request.uri();
      if (request.headers().contains(HttpHeaderNames.UPGRADE, HttpHeaderValues.WEBSOCKET, true)) {
        websockets.increment();
        var full = new DefaultFullHttpRequest(
            request.protocolVersion(), request.method(), path, Unpooled.EMPTY_BUFFER, request.headers(), EmptyHttpHeaders.INSTANCE);
        var url = "ws://" + request.headers().get(HttpHeaderNames.HOST) + path;
        new WebSocketServerHandshakerFactory(url, null, false).newHandshaker(full).handshake(context.channel(), full);
        return;
      }
      requests.increment();
      var body = Unpooled.wrappedBuffer(new byte[] {'o', 'k'});
      var response = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.OK, body);
      response.headers().setInt(HttpHeaderNames.CONTENT_LENGTH, 2);
      // HTTP/2 answers in the stream of the request, and the codec needs its number.
      var stream = request.headers().get(HttpConversionUtil.ExtensionHeaderNames.STREAM_ID.text());
      if (stream != null) {
        response.headers().set(HttpConversionUtil.ExtensionHeaderNames.STREAM_ID.text(), stream);
      }
      if (path.equals("/close")) {
        response.headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
        context.writeAndFlush(response).addListener(ChannelFutureListener.CLOSE);
      } else if (path.startsWith("/wait/")) {
        long seconds = Long.parseLong(path.substring("/wait/".length()));
        context.executor().schedule(() -> context.writeAndFlush(response), seconds, TimeUnit.SECONDS);
      } else {
        context.writeAndFlush(response);
      }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
      context.close();
    }
  }
}
