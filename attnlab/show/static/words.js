// The words of a view in the learner's language. They are written in English where they are said; Python sends what
// they are in another language. What it does not send stays English.

let dictionary = {}; // of this page, English to what is said

// A text in the language in use, with {names} filled in.
export function tr(text, values = {}) {
  return (dictionary[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// A view that is drawn anew in another language when Python sends its words.
export const spoken = (render) => (context) => {
  const { model, el } = context;
  let end = () => {};
  const draw = () => {
    end();
    el.replaceChildren();
    dictionary = model.get("words") ?? {};
    end = render(context);
    const choice = languageMenu(model);
    if (choice) (el.querySelector(".keep, .desk-bar") ?? el.firstElementChild).append(choice);
  };
  draw();
  model.on("change:words", draw);
  return () => {
    model.off("change:words", draw);
    end();
  };
};

// Languages that there are, each by its own name; nothing where there is no choice.
function languageMenu(model) {
  const languages = Object.entries(model.get("languages") ?? {});
  if (languages.length < 2) return null;
  const box = document.createElement("select");
  box.className = "language";
  box.setAttribute("aria-label", "Language");
  box.append(...languages.map(([language, name]) => {
    const option = document.createElement("option");
    option.value = language;
    option.lang = language.replace("_", "-");
    option.textContent = name;
    return option;
  }));
  box.value = model.get("language");
  box.onchange = () => {
    model.set("language", box.value);
    model.save_changes();
  };
  return box;
}
