/* The quizzes of the book: plain JavaScript, nothing fetched. What was answered is kept in this
   browser alone, under hv-quiz:NAME, and "Start again" forgets it.

   Each question is a group of radio buttons and a button; what follows is said in a live region. */

(() => {
  "use strict";

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...children);
    return element;
  };
  const button = (text, onclick) => {
    const made = make("button", { type: "button", class: "hv-button" }, text);
    made.addEventListener("click", onclick);
    return made;
  };

  /* Storage may be forbidden; then the answers last as long as the page. */
  const kept = (key) => {
    try { return JSON.parse(localStorage.getItem(key)) || {}; } catch { return {}; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* see above */ }
  };

  function show(section) {
    const questions = JSON.parse(section.querySelector("script").textContent);
    const key = `hv-quiz:${section.dataset.quiz}`;
    const given = kept(key);  // place of the question: place of the answer
    const live = make("div", { class: "hv-live" });
    const score = make("p", { class: "hv-says", role: "status" });

    function tell() {
      const answered = questions.filter((_, at) => at in given).length;
      const right = questions.filter(({ right }, at) => given[at] === right).length;
      score.textContent = answered === questions.length
        ? `At the end ${right} of ${answered} right.`
        : `${answered} of ${questions.length} answered, ${right} right.`;
    }

    function ask({ question, answers, right, reason }, at) {
      const name = `${section.dataset.quiz}-${at}`;
      const field = make("fieldset", { class: "hv-field" },
        make("legend", {}, `${at + 1}. ${question}`));
      const says = make("p", { role: "status" });
      const check = button("Check", () => {
        const chosen = field.querySelector(":checked");
        if (!chosen) { says.textContent = "Choose an answer first."; return; }
        given[at] = Number(chosen.value);
        keep(key, given);
        judge();
        tell();
        chosen.focus();  // the button is gone
      });
      const radios = answers.map((answer, place) => {
        const radio = make("input", { type: "radio", name, id: `${name}-${place}`, value: place });
        field.append(make("p", {}, radio, make("label", { for: radio.id }, answer)));
        return radio;
      });
      field.append(check, says);

      function judge() {
        const chosen = given[at];
        radios.forEach((radio, place) => {
          radio.checked = place === chosen;
          radio.disabled = place !== chosen;  // the chosen one keeps the keyboard's place
        });
        radios[right].parentElement.classList.add("hv-right");
        check.hidden = true;
        says.textContent = (chosen === right ? "Right. " : `No. Right is: ${answers[right]}. `) + reason;
      }
      if (at in given) judge();
      return field;
    }

    const fill = () => {
      live.replaceChildren(...questions.map(ask), score, make("p", {}, again));
      tell();
    };
    const again = button("Start again", () => {
      Object.keys(given).forEach((at) => delete given[at]);
      keep(key, given);
      fill();
      live.querySelector("input").focus();
    });
    section.prepend(live);
    section.classList.add("hv-on");
    fill();
  }

  document.querySelectorAll(".hv-quiz").forEach(show);
})();
