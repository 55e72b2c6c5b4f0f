// Loaded by `node --require`: names below `.localhost` are this machine, as RFC 6761 says.

const dns = require("node:dns");

const real = dns.lookup;
dns.lookup = (host, ...rest) => real(host.endsWith(".localhost") ? "127.0.0.1" : host, ...rest);
