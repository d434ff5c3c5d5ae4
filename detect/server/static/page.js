// The page: takes pictures by choosing, dropping or pasting, has each judged, and shows a card for it.

import { Card, fillList } from "./card.js";
import { detector, forgetWaiting, judge } from "./send.js";
import { bytes, oneIn, percent } from "./words.js";

const find = (id) => document.getElementById(id);
const results = [];
let facts = null;
let hasWaited = false;
let tellFacts;
const whenFacts = new Promise((resolve) => (tellFacts = resolve));

function take(files) {
  const before = find("cards").firstChild;
  for (const file of files) takeOne(file, before);
  showProgress();
}

async function takeOne(file, before) {
  const card = new Card(find("card"), file);
  const result = { card, answer: null };
  results.push(result);
  find("all").hidden = false;
  find("cards").insertBefore(card.root, before);
  const limit = facts?.limits.max_file_bytes ?? Infinity;
  result.answer =
    file.size > limit
      ? { name: file.name, error: `It is larger than ${bytes(limit)}` }
      : await judge(file, (state, share) => card.tell(state, share));
  if (!result.answer.error) await whenFacts;
  if (!results.includes(result)) return; // removed meanwhile
  card.show(result.answer, facts?.unsure_probabilities ?? null);
  announce(`${file.name}: ${result.answer.error ? "no verdict" : result.answer.verdict}.`);
  showProgress();
}

function announce(sentence) {
  find("announcer").textContent = sentence;
}

function showProgress() {
  const done = results.filter((result) => result.answer !== null).length;
  const noun = results.length === 1 ? "picture" : "pictures";
  find("progress").textContent = done < results.length ? `${done} of ${results.length} ${noun} judged` : `${done} ${noun} judged`;
  find("download").disabled = done === 0;
  find("all").hidden = results.length === 0;
}

function say(sentence) {
  find("trouble").textContent = sentence;
  find("trouble").hidden = sentence === "";
}

function download() {
  const verdicts = results.filter((result) => result.answer !== null).map(({ card, answer }) => {
    const { map_png, ...plain } = answer;
    return { name: card.file.name, ...plain };
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ verdicts }, null, 2)], { type: "application/json" }));
  link.download = "verdicts.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function clear() {
  forgetWaiting();
  results.splice(0).forEach(({ card }) => card.remove());
  showProgress();
  find("choose").focus();
}

function showFacts() {
  const sources = facts.sources ?? [];
  const photographs = facts.num_validation_photographs;
  const tests = Object.entries(facts.test?.sources ?? {}).map(([source, metrics]) => `${source} ${metrics.auroc.toFixed(2)}`);
  const values = {
    "Trained to find": sources.length > 0 ? sources.join(", ") : "nothing in particular: it compares with photographs alone",
    "False-alarm rate": `${percent(facts.false_alarm_rate)}: at most ${oneIn(facts.false_alarm_rate)} photographs like the validation ones`,
    "Validation photographs": photographs === undefined ? undefined : `${photographs}, in ${facts.num_validation_groups} independent groups`,
    "AUROC on test images": tests.length > 0 ? tests.join(", ") : undefined,
    Device: facts.device,
    Fingerprint: facts.detector,
  };
  fillList(find("facts"), Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)));
  find("facts-section").hidden = false;
}

async function loadFacts() {
  const answer = await detector().catch(() => ({ error: "The service does not answer.", mayCome: true }));
  if (answer.error) {
    say(answer.error);
    hasWaited = true;
    if (answer.mayCome) setTimeout(loadFacts, 2000);
    return;
  }
  facts = answer;
  if (hasWaited) say("");
  showFacts();
  tellFacts();
}

function takeTransfer(event, transfer) {
  const files = [...(transfer?.files ?? [])];
  if (files.length > 0) {
    event.preventDefault();
    say("");
    take(files);
  } else if (event.type === "drop") {
    event.preventDefault();
    say("Only files can be dropped here. Save the picture first, or copy and paste it.");
  }
}

find("choose").onclick = () => find("files").click();
find("files").onchange = () => {
  take([...find("files").files]);
  find("files").value = ""; // so that the same file can be chosen again
};
find("download").onclick = download;
find("clear").onclick = clear;
document.addEventListener("paste", (event) => takeTransfer(event, event.clipboardData));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("choose").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) find("choose").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  find("choose").classList.remove("over");
  takeTransfer(event, event.dataTransfer);
});
loadFacts();
