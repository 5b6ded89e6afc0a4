// A proxy through which a test's browser sends everything, that of workers too: it sees each request and
// answer, and can be cut.
import http from "node:http";

/** Bodies are kept up to here; what a page says about a share is far smaller. */
const BODY_BYTES_MAX = 4 << 20;

export class Wire {
  static async start() {
    const wire = new Wire();
    wire.requests = [];
    wire.isCut = false;
    wire.server = http.createServer((request, answer) => wire.forward(request, answer));
    wire.server.on("connect", (request, socket) => {
      wire.requests.push({ method: "CONNECT", url: request.url, headers: request.rawHeaders, body: Buffer.alloc(0) });
      socket.destroy();
    });
    wire.agent = new http.Agent({ keepAlive: true });
    wire.sockets = new Set();
    wire.server.on("connection", (socket) => {
      wire.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => wire.sockets.delete(socket));
    });
    await new Promise((resolve) => wire.server.listen(0, "127.0.0.1", resolve));
    wire.url = `http://127.0.0.1:${wire.server.address().port}`;
    return wire;
  }

  forward(request, answer) {
    const seen = { method: request.method, url: request.url, headers: request.rawHeaders, body: Buffer.alloc(0), bytes: 0 };
    this.requests.push(seen);
    if (this.isCut || this.refuses?.(request)) return request.socket.destroy();
    const url = new URL(request.url);
    const headers = { ...request.headers };
    delete headers["proxy-connection"];
    const to = { host: url.hostname, port: url.port, path: url.pathname + url.search, agent: this.agent };
    const onward = http.request({ ...to, method: request.method, headers }, (reply) => {
      seen.status = reply.statusCode;
      seen.answer = reply.headers;
      answer.writeHead(reply.statusCode, reply.rawHeaders);
      reply.on("data", (data) => (seen.bytes += data.length));
      reply.on("error", () => answer.destroy());
      reply.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    const body = [];
    let bodyBytes = 0;
    request.on("data", (data) => {
      bodyBytes += data.length;
      if (bodyBytes <= BODY_BYTES_MAX) body.push(data);
    });
    request.on("end", () => (seen.body = Buffer.concat(body)));
    request.pipe(onward);
  }

  /** Drops every connection, and refuses new ones until `mend`. */
  cut() {
    this.isCut = true;
    this.sockets.forEach((socket) => socket.destroy());
  }

  mend() {
    this.isCut = false;
  }

  end() {
    this.cut();
    this.agent.destroy();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
