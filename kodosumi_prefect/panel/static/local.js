// Times in the reader's own zone, also in what htmx puts in.
import { localise } from "./time.js";

localise(document);
document.addEventListener("htmx:afterSwap", () => localise(document));
