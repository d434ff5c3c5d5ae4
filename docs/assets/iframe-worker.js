// A page opened from a folder (file://) may not start a Worker: search runs in a hidden frame there instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const page = this.frame.contentWindow;
      page.document.open();
      page.document.write("<!doctype html><html><body></body></html>");
      page.document.close();
      // What the worker posts arrives here; what it imports is loaded in order, as a worker would.
      page.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      const load = (src) => new Promise((done, failed) => {
        const script = page.document.createElement("script");
        script.src = src;
        script.onload = done;
        script.onerror = failed;
        page.document.body.append(script);
      });
      page.importScripts = (...urls) => urls.reduce((before, src) => before.then(() => load(src)), Promise.resolve());
      this.ready = load(new URL(url, location.href).href);
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
