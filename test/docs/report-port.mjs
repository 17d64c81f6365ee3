// Preloaded before a snippet of the documentation: tells the test on which port its server listens.
import net from "node:net";

const emit = Reflect.get(net.Server.prototype, "emit");
net.Server.prototype.emit = function report(event, ...args) {
  if (event === "listening") process.send?.({ port: this.address().port });
  return Reflect.apply(emit, this, [event, ...args]);
};
