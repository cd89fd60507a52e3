// A server of revision 2026-07-28 with the SDK of npm: on stdio, or with `http` over HTTP, without any older revision then.
const { McpServer, createMcpHandler } = require('@modelcontextprotocol/server');
const z = require('zod');

function make() {
  const server = new McpServer({ name: 'modern', version: '1.0.0' });
  const schema = z.object({ a: z.number(), b: z.number(), region: z.string().optional().meta({ 'x-mcp-header': 'Region' }) });
  server.registerTool('add', { description: 'Adds two numbers', inputSchema: schema }, async ({ a, b, region }) => ({
    content: [{ type: 'text', text: `${a + b}${region ? ' in ' + region : ''}` }],
  }));
  return server;
}

async function serve(handler, request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const answer = await handler.fetch(new Request(`http://${request.headers.host}${request.url}`, {
    method: request.method, headers: request.headers, body: request.method === 'POST' ? Buffer.concat(parts) : undefined,
  }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body) for await (const piece of answer.body) response.write(piece);
  response.end();
}

if (process.argv[2] === 'http') {
  const handler = createMcpHandler(make, { legacy: 'reject' });
  require('http').createServer((request, response) => serve(handler, request, response)).listen(0);
} else {
  require('@modelcontextprotocol/server/stdio').serveStdio(make);
}
