// A Node server as in the first page of its documentation: it binds by itself and knows nothing of svd.
const http = require("http");

const server = http.createServer((request, response) => {
  const answer = () => response.end(`generation ${process.env.GENERATION}, pid ${process.pid}\n`);
  request.url === "/slow" ? setTimeout(answer, 500) : answer();
});
server.listen(process.env.PORT);

// With `polite`, it finishes on TERM what it has begun, as that documentation advises; without, TERM ends it at once.
if (process.argv[2] === "polite") process.on("SIGTERM", () => server.close());
