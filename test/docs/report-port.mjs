// Preloaded before a snippet of the documentation: tells the test on which port its server listens.
import net from "node:net";

const { emit } = net.Server.prototype;
net.Server.prototype.emit = function report(event, ...args) {
  if (event === "listening") process.send?.({ port: this.address().port });
  return emit.call(this, event, ...args);
};
