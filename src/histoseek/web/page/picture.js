/** A picture that came in: its scale if its file states one, a preview, and whether it is blank. */

const MAX_BYTES = 20 * 1000 * 1000;
const KINDS = ['image/png', 'image/jpeg', 'image/tiff', 'image/webp'];
const SANE_MPP = [0.05, 20];
const PREVIEW_PX = 1024;
const BLANK_SHARE = 0.95;

const isSane = (mpp) => mpp >= SANE_MPP[0] && mpp <= SANE_MPP[1];

/** µm per pixel from a PNG's pHYs chunk; null without one. */
function pngMpp(view) {
  let at = 8;
  while (at + 12 <= view.byteLength) {
    const length = view.getUint32(at);
    const kind = view.getUint32(at + 4);
    if (kind === 0x70485973 && at + 17 <= view.byteLength) {
      const perMetre = view.getUint32(at + 8);
      return view.getUint8(at + 16) === 1 && perMetre ? 1e6 / perMetre : null;
    }
    if (kind === 0x49444154) return null;
    at += 12 + length;
  }
  return null;
}

/** µm per pixel from a JPEG's JFIF header; null without one. */
function jpegMpp(view) {
  if (view.byteLength < 18 || view.getUint32(6) !== 0x4a464946) return null;
  const unit = view.getUint8(13);
  const density = view.getUint16(14);
  if (!density) return null;
  return unit === 2 ? 1e4 / density : unit === 1 ? 25400 / density : null;
}

/** The scale that the file states; screen resolutions such as 72 dpi count as unknown. */
async function statedMpp(file) {
  const view = new DataView(await file.slice(0, 65536).arrayBuffer());
  if (view.byteLength < 20) return null;
  const mpp = view.getUint32(0) === 0x89504e47 ? pngMpp(view) : view.getUint16(0) === 0xffd8 ? jpegMpp(view) : null;
  return mpp && isSane(mpp) ? mpp : null;
}

/** A canvas with the picture made smaller, and its full size; null where the browser cannot decode it (TIFF). */
async function previewOf(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const shrink = Math.min(1, PREVIEW_PX / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * shrink));
    canvas.height = Math.max(1, Math.round(bitmap.height * shrink));
    canvas.getContext('2d', { willReadFrequently: true }).drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const size = { width: bitmap.width, height: bitmap.height };
    bitmap.close();
    return { canvas, ...size };
  } catch {
    return null;
  }
}

/** The share of pixels that are nearly white or nearly black without colour. */
function emptyShare(canvas) {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let empty = 0;
  for (let at = 0; at < data.length; at += 4) {
    const high = Math.max(data[at], data[at + 1], data[at + 2]);
    const low = Math.min(data[at], data[at + 1], data[at + 2]);
    if (low > 225 || (high < 25 && high - low < 12)) empty += 1;
  }
  return empty / (data.length / 4);
}

function refusal(file) {
  if (file.type && !KINDS.includes(file.type)) return `“${file.name}” is no PNG, JPEG, TIFF or WebP picture.`;
  if (file.size > MAX_BYTES) return `“${file.name}” is larger than 20 MB; crop it, or index it on the command line.`;
  return file.size === 0 ? `“${file.name}” is empty.` : null;
}

/** What the page knows of a picture before it is sent. Throws an Error whose message says why it cannot be asked. */
export async function readPicture(file) {
  const refused = refusal(file);
  if (refused) throw new Error(refused);
  const [mpp, preview] = await Promise.all([statedMpp(file), previewOf(file)]);
  const empty = preview ? emptyShare(preview.canvas) : 0;
  return { file, name: file.name || 'pasted picture', mpp, preview, blank: empty > BLANK_SHARE ? empty : null };
}

export const checkedMpp = (text) => {
  const mpp = Number(String(text).replace(',', '.'));
  return isSane(mpp) ? mpp : null;
};
