"use strict";
// The description of the HTTP API, in a file of its own: the page's policy allows no script inside the HTML.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true });
