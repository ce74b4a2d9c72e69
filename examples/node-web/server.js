// A page that tells its release and who made it; it takes a moment, as pages do.
const http = require("http");
const { release } = require("./package.json");

const server = http.createServer((request, response) => {
  setTimeout(() => response.end(`release ${release}, made by ${process.pid}\n`), 100);
});
server.listen(process.env.PORT, () => console.log(`open on port ${process.env.PORT}`));

// As Node's documentation has it: finish what was begun, then end.
process.on("SIGTERM", () => server.close());
