// Words to play with: an instrument, a mood, a genre, in turn. Knows nothing of pages or sounds.

const INSTRUMENTS = {
  "electric piano": ["warm", "glassy", "overdriven", "dusty"],
  "upright bass": ["walking", "bowed", "woody"],
  "synth bass": ["rubbery", "squelchy", "sub", "plucked"],
  "drum machine": ["crisp", "swung", "lo-fi", "punchy"],
  "drum kit": ["brushed", "dry", "roomy", "loose"],
  "hand percussion": ["quiet", "busy", "polyrhythmic"],
  "acoustic guitar": ["fingerpicked", "strummed", "muted"],
  "electric guitar": ["clean", "fuzzy", "tremolo", "slide"],
  "string quartet": ["hushed", "pizzicato", "soaring"],
  "brass section": ["muted", "stabbing", "swelling"],
  "synth pad": ["airy", "drifting", "detuned", "icy"],
  "synth lead": ["portamento", "whistling", "gritty"],
  "marimba": ["hollow", "repeating", "soft-mallet"],
  "church organ": ["distant", "full"],
  "flute": ["breathy", "low"],
  "tabla": ["tight", "flowing"],
  "choir": ["wordless", "low", "bright"],
  "music box": ["slow", "broken"],
};

const MOODS = [
  "late night", "sunlit", "melancholy", "restless", "weightless", "underwater", "triumphant", "nostalgic",
  "hypnotic", "tender", "menacing", "playful", "rainy window", "wide open", "dusty vinyl", "half asleep",
  "slow bloom", "city at dawn",
];

const GENRES = [
  "acid house", "dub techno", "lo-fi hip hop", "boom bap", "drum and bass", "uk garage", "ambient", "bossa nova",
  "cumbia", "afrobeat", "disco funk", "synthwave", "chiptune", "trip hop", "minimal techno", "jazz trio",
  "bluegrass", "shoegaze", "dancehall", "flamenco", "krautrock", "gamelan", "footwork", "neo soul",
];

const CATEGORIES = ["instrument", "mood", "genre"];
let turn = 0;
let latest = "";

const pick = (list) => list[Math.floor(Math.random() * list.length)];

function instrument() {
  const name = pick(Object.keys(INSTRUMENTS));
  return Math.random() < 0.75 ? `${pick(INSTRUMENTS[name])} ${name}` : name;
}

function of(category) {
  if (category === "instrument") return instrument();
  return pick(category === "mood" ? MOODS : GENRES);
}

/** Never twice the same in a row. */
function fresh(category) {
  let words = of(category);
  while (words === latest) words = of(category);
  latest = words;
  return words;
}

export const MagentaPrompts = Object.freeze({
  /** An instrument, then a mood, then a genre, then an instrument again. */
  getNextCyclingStyle() {
    const words = fresh(CATEGORIES[turn]);
    turn = (turn + 1) % CATEGORIES.length;
    return words;
  },
  /** Of any category. */
  getRandomStyle() {
    return fresh(pick(CATEGORIES));
  },
  /** The next one is an instrument again. */
  resetCycle() {
    turn = 0;
  },
  /** Every genre, for suggestions. */
  genres: Object.freeze([...GENRES]),
});
