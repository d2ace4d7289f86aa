/* Put into Sphinx's search: chapters and notebooks before the package's reference, and excerpts
   from disk, where a browser refuses to fetch the pages that were found. */
Scorer.score = ([page, , , , score]) => (page.startsWith("book/api/") ? score - 1000 : score);

if (location.protocol === "file:") {
  const root = document.documentElement.dataset.content_root;
  const fetched = window.fetch;
  let excerpts;
  const load = () => (excerpts ||= new Promise((done) => {
    window.hvExcerpts = done;
    const script = document.createElement("script");
    script.src = `${root}_static/hematovision-excerpts.js`;
    document.head.append(script);
  }));
  window.fetch = async (address, ...others) => {
    if (typeof address !== "string" || !address.startsWith(root)) return fetched(address, ...others);
    const main = document.createElement("div");
    main.setAttribute("role", "main");
    main.textContent = (await load())[address.slice(root.length).replace(/\.html$/, "")] || "";
    return new Response(main.outerHTML);
  };
}
