// What became of a label, in a sentence: not everything is learned at once.

const SENTENCES = {
  learned: (as) => `Learned ${as}.`,
  waiting: (as) => `Taken ${as}: it is learned when its turn comes.`,
  exam: (as) => `Kept ${as} for exams: candidates are tested on it, so it is not learned.`,
  held: (as) => `Held ${as} for review: it contradicts a confident prediction.`,
  thinned: (as) => `Noted ${as}; of suspicious ones only a share is learned.`,
  set_aside: () => "That was set aside, by a rollback or the guard, and is not learned again.",
  known: () => "That was known already.",
  corrected: (as) => `Corrected: learned ${as} now.`,
  noted: () => "Noted that it is wrong.",
  unlearnable: () => "It cannot be learned, and was left out.",
};

// told: an answer to feedback; as: "as LABEL".
export function became(told, as) {
  if (told.status === "rejected") return `Not taken: ${told.reason}`;
  const sentence = (SENTENCES[told.status] ?? (() => `${told.status} ${as}`))(as);
  const waits = told.status === "learned" && told.version !== null && told.version !== undefined;
  return waits ? `${sentence} It counts from the next accepted version on.` : sentence;
}
