// One picture's card. Text goes in by textContent alone: names of files are written by strangers.

import { VERDICTS, fileFacts, noVerdict, percent, photographs, rule } from "./words.js";

const MAP_AT_FIRST = 40;

export class Card {
  constructor(template, file) {
    this.root = template.content.firstElementChild.cloneNode(true);
    this.file = file;
    this.addresses = [];
    this.sides = null;
    this.find(".name").textContent = file.name;
    this.find(".picture").onerror = () => this.hidePicture();
    this.find(".picture").onload = (event) => this.shape(event.target.naturalWidth, event.target.naturalHeight);
    this.find(".picture").src = this.address(file);
    this.tell("Waiting", null);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  address(blob) {
    const address = URL.createObjectURL(blob);
    this.addresses.push(address);
    return address;
  }

  // `share` of the upload; null while nobody knows how long it takes.
  tell(state, share) {
    this.find(".state").textContent = share === null ? `${state} …` : `${state}, ${Math.floor(100 * share)} %`;
    const bar = this.find("progress");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
  }

  // `answer` is an entry of the API; `band` the two probabilities between which nobody can tell, or null.
  show(answer, band) {
    this.find(".working").hidden = true;
    if (answer.error) this.showError(answer.error);
    else this.showVerdict(answer, band);
  }

  showError(error) {
    this.find(".card").classList.add("failed");
    this.find(".view").hidden = true;
    this.find(".error").hidden = false;
    this.find(".error p").textContent = noVerdict(error);
  }

  showVerdict(answer, band) {
    const verdict = VERDICTS[answer.verdict];
    this.find(".card").classList.add(answer.verdict);
    this.find(".verdict path").setAttribute("d", verdict.shape);
    this.find(".verdict span").textContent = verdict.title;
    this.find(".meaning").textContent = (answer.probability === null && verdict.fromPhotographs) || verdict.meaning;
    if (answer.probability !== null) this.showChance(answer.probability, band);
    this.find(".photographs").textContent = photographs(answer.p_real);
    this.find(".rule").textContent = rule(answer.false_alarm_rate);
    const isMark = (note) => note.code.startsWith("mark");
    this.showNotes(".doubts", answer.notes.filter((note) => !isMark(note)));
    this.showNotes(".marks", answer.notes.filter(isMark));
    this.find(".file-facts").textContent = fileFacts(answer.image, answer.seconds);
    fillList(this.find("details dl"), {
      Score: answer.score.toPrecision(4),
      "Mean error of the map": answer.mean_lare.toPrecision(4),
      "Share of photographs": answer.p_real.toPrecision(3),
      "SHA-256 of the file": answer.image.sha256,
      Detector: answer.detector,
    });
    this.showMap(answer);
    this.find(".answer").hidden = false;
  }

  showChance(probability, band) {
    this.find(".chance").hidden = false;
    this.find(".chance-words").textContent = `Probability of “generated”: ${percent(probability)}`;
    this.find(".marker").style.left = `${100 * probability}%`;
    this.find(".band").hidden = this.find(".band-words").hidden = band === null;
    if (band === null) return;
    this.find(".band").style.left = `${100 * band[0]}%`;
    this.find(".band").style.width = `${100 * (band[1] - band[0])}%`;
    this.find(".band-words").textContent = `unsure from ${percent(band[0])} to ${percent(band[1])}`;
  }

  showNotes(selector, notes) {
    this.find(selector).hidden = notes.length === 0;
    for (const note of notes) {
      const item = document.createElement("li");
      item.textContent = note.text;
      this.find(`${selector} ul`).append(item);
    }
  }

  showMap(answer) {
    const map = this.find(".map");
    const fader = this.find(".fader");
    const slider = fader.querySelector("input");
    const fade = () => {
      map.style.opacity = slider.value / 100;
      slider.setAttribute("aria-valuetext", `${slider.value} % visible`);
    };
    map.src = this.address(fromBase64(answer.map_png, "image/png"));
    map.hidden = fader.hidden = false;
    slider.value = this.find(".frame").classList.contains("without-picture") ? 100 : MAP_AT_FIRST;
    slider.oninput = fade;
    this.sides = [answer.image.width, answer.image.height];
    if (this.find(".picture").hidden) this.shape(...this.sides);
    this.find(".picture").alt = `The picture ${this.file.name}`;
    fade();
  }

  // Before the picture is there, its place keeps the proportions of most photographs.
  shape(width, height) {
    this.find(".frame").style.setProperty("--ratio", width / height);
  }

  hidePicture() {
    this.find(".picture").hidden = true;
    this.find(".cannot-show").hidden = false;
    this.find(".frame").classList.add("without-picture");
    if (this.sides) this.shape(...this.sides);
    const slider = this.find(".fader input");
    slider.value = 100;
    slider.dispatchEvent(new Event("input"));
  }

  remove() {
    this.addresses.forEach(URL.revokeObjectURL);
    this.root.remove();
  }
}

export function fillList(list, facts) {
  for (const [name, value] of Object.entries(facts)) {
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    list.append(term, description);
  }
}

function fromBase64(text, type) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type });
}
