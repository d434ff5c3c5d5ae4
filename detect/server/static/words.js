// What numbers and codes mean, as sentences.

// `fromPhotographs` is the meaning for a detector that has seen no generated image. It never answers "real".
export const VERDICTS = {
  generated: {
    title: "Generated",
    meaning: "It scores like the generated images that the detector knows.",
    fromPhotographs: "It scores unlike the photographs that the detector was calibrated on.",
    shape: "M12 2.5 21.5 12 12 21.5 2.5 12Z",
  },
  real: {
    title: "Real",
    meaning: "It scores like photographs. Images of a generator that the detector does not know can do so too.",
    shape: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z",
  },
  unsure: {
    title: "Unsure",
    meaning: "The score does not decide, or the picture is unlike those that the detector was trained on.",
    fromPhotographs: "Photographs score as high, or the picture is unlike them. This detector knows photographs alone, and never answers real.",
    shape: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 2.5v13a6.5 6.5 0 0 1 0-13Z",
  },
};

const SPACE = "\u00a0"; // at which no line ends

export function percent(share) {
  if (share > 0 && share < 0.001) return `less than 0.1${SPACE}%`;
  if (share < 1 && share > 0.999) return `more than 99.9${SPACE}%`;
  const digits = share < 0.1 || share > 0.99 ? 1 : 0;
  return `${(100 * share).toFixed(digits).replace(/\.0$/, "")}${SPACE}%`;
}

const MOST_ONE_IN = 0.35;

// 0.005 → "1 in 200", 0.8 → "8 in 10".
export function oneIn(share) {
  if (share < MOST_ONE_IN) return `1 in ${Math.round(1 / share).toLocaleString("en")}`;
  return `${Math.round(10 * share)} in 10`;
}

export function photographs(pReal) {
  if (pReal > 0.95) return "Nearly all photographs like the validation ones score as high.";
  const verb = pReal < MOST_ONE_IN ? "scores" : "score";
  return `${oneIn(pReal)} photographs like the validation ones ${verb} as high.`;
}

export function rule(rate) {
  return `A picture is called generated only if at most ${oneIn(rate)} photographs score as high (false-alarm rate ${percent(rate)}).`;
}

// The service's reason, without the file's first bytes that it may quote.
export function noVerdict(error) {
  const [reason] = error.split("; it begins with");
  return `${reason[0].toUpperCase()}${reason.slice(1)}${/[.?!]$/.test(reason) ? "" : "."}`;
}

export function fileFacts(image, seconds) {
  const quality = image.jpeg_quality === null ? "" : `, quality ${image.jpeg_quality}`;
  return `${image.format}${quality}, ${image.width} × ${image.height} px. Judged in ${seconds.toFixed(seconds < 10 ? 2 : 1)} s.`;
}

export function bytes(number) {
  return number < 2 ** 20 ? `${Math.ceil(number / 1024)} KB` : `${(number / 2 ** 20).toFixed(number < 10 * 2 ** 20 ? 1 : 0)} MB`;
}
