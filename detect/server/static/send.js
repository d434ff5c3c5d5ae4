// Requests to the service: one picture a request, two at a time, again where the service is busy.

const AT_ONCE = 2;
const MOST_TRIES = 300;

let running = 0;
const waiting = [];

// The entry of one picture, {verdict…} or {error}. `tell(state, share)` hears of progress.
export function judge(file, tell) {
  return new Promise((resolve) => {
    waiting.push(async () => resolve(await withRetries(file, tell)));
    next();
  });
}

export function forgetWaiting() {
  waiting.length = 0;
}

export async function detector() {
  const answer = await fetch("/v1/detector");
  const body = await answer.json();
  return answer.ok ? body : { error: body.error, mayCome: answer.status === 503 };
}

async function next() {
  if (running >= AT_ONCE || waiting.length === 0) return;
  running += 1;
  await waiting.shift()();
  running -= 1;
  next();
}

async function withRetries(file, tell) {
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const answer = await post(file, tell);
    if (answer.status !== 503) return entry(answer);
    tell(answer.body?.error ?? "The service is busy.", null);
    await new Promise((resolve) => setTimeout(resolve, 1000 * answer.retryAfter));
  }
  return { error: "The service has been busy for too long. Try again later." };
}

function entry({ status, body }) {
  if (body?.verdicts?.length === 1) return body.verdicts[0];
  if (body?.error) return { error: body.error };
  return { error: status === 0 ? "It could not be sent: the service does not answer, or the file cannot be read." : `The service answered with status ${status}.` };
}

// fetch tells nothing of an upload's progress.
function post(file, tell) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/detect?maps=true");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) tell("Uploading", event.loaded / event.total);
    };
    request.upload.onload = () => tell("Being judged", null);
    request.onloadend = () =>
      resolve({
        status: request.status,
        body: request.response,
        retryAfter: Number(request.getResponseHeader("Retry-After")) || 1,
      });
    const form = new FormData();
    form.append("files", file, file.name);
    request.send(form);
  });
}
