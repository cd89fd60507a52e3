// node --require: whatever address a server wants to listen on, it gets 127.0.0.1 and a free port, which it writes to PORT_FILE.
const fs = require('fs');
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  const done = given.find((one) => typeof one === 'function');
  this.once('listening', () => {
    fs.writeFileSync(process.env.PORT_FILE + '.new', String(this.address().port));
    fs.renameSync(process.env.PORT_FILE + '.new', process.env.PORT_FILE);
  });
  return listen.call(this, { port: 0, host: '127.0.0.1' }, done);
};
globalThis.crypto ??= require('crypto').webcrypto; // node 18 has it under this name only; the servers' SDK wants the other
