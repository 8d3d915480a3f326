// BERT's tokenizer: cuts a text into word pieces, as the tokenizers library does.

const BLANK = /[\t\n\r\p{White_Space}]/u;
const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\ufffd]/u;
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/u;
const CHINESE = [
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];
const isChinese = (letter) => {
  const code = letter.codePointAt(0);
  return CHINESE.some(([first, last]) => first <= code && code <= last);
};
const escaped = (text) => text.replace(/[[\]\\^$.|?*+(){}]/g, "\\$&");

// Takes what vocabulary.py says of a tokenizer; returns a function from a text, and how many tokens it may have, to their
// ids and pieces, and whether it was cut.
export function wordPieces({ pieces, special, cls, sep, unknown, lowercase, without_accents: bare, apart, longest }) {
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const names = new RegExp(`(${special.map(escaped).join("|")})`);
  const isSpecial = new Set(special);

  function normalised(text) {
    let letters = [...text].filter((letter) => /[\t\n\r]/.test(letter) || !CONTROL.test(letter))
      .map((letter) => (BLANK.test(letter) ? " " : letter));
    if (apart) letters = letters.map((letter) => (isChinese(letter) ? ` ${letter} ` : letter));
    if (bare) letters = [...letters.join("").normalize("NFD").replace(/\p{Mn}/gu, "")];
    // letter by letter: a sigma at the end of a word has no form of its own here
    if (lowercase) letters = letters.map((letter) => letter.toLowerCase());
    return letters.join("");
  }

  function words(text) {
    const found = [];
    let word = "";
    const end = () => { if (word) found.push(word); word = ""; };
    for (const letter of text) {
      if (BLANK.test(letter)) end();
      else if (PUNCTUATION.test(letter)) { end(); found.push(letter); }
      else word += letter;
    }
    end();
    return found;
  }

  // the longest piece that fits, from the left; a word with a letter that no piece holds is unknown as a whole
  function piecesOf(word) {
    const letters = [...word];
    if (letters.length > longest) return [unknown];
    const found = [];
    for (let start = 0; start < letters.length;) {
      let end = letters.length;
      let id;
      for (; end > start; end--) {
        id = ids.get((start ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [unknown];
      found.push(id);
      start = end;
    }
    return found;
  }

  return (text, most = Infinity) => {
    const inner = text.split(names).flatMap((part) => (isSpecial.has(part) ? [ids.get(part)] : words(normalised(part)).flatMap(piecesOf)));
    const found = [cls, ...inner.slice(0, most - 2), sep];
    return { ids: found, tokens: found.map((id) => pieces[id]), cut: inner.length > most - 2 };
  };
}
