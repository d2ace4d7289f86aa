// Printed from 1-cells.html come the slides; from 1-cells.html?notes a page for each with its notes.
if (new URLSearchParams(location.search).has("notes")) {
  document.documentElement.classList.add("with-notes");
}
