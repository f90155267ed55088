import i18next from 'i18next';
import { initReactI18next } from 'react-i18next';
import { load } from '../connection/load';
import shop from './locales/en/shop.json';

export const LANGUAGES = { en: 'English', hi: 'हिन्दी' } as const;
export type Language = keyof typeof LANGUAGES;

const REMEMBERED = 'bharatmart.language';

/** English comes with the app, because whatever else cannot be loaded falls back to it. */
const files = import.meta.glob<{ default: Record<string, unknown> }>([
  './locales/*/*.json',
  '!./locales/en/shop.json',
]);

export async function startTranslations(): Promise<void> {
  await i18next
    .use({
      type: 'backend',
      async read(language: string, namespace: string) {
        const file = files[`./locales/${language}/${namespace}.json`];
        if (!file) throw new Error(`No translation ${language}/${namespace}`);
        return (await load(file)).default;
      },
    })
    .use(initReactI18next)
    .init({
      lng: preferredLanguage(),
      supportedLngs: Object.keys(LANGUAGES),
      fallbackLng: 'en',
      resources: { en: { shop } },
      partialBundledLanguages: true,
      ns: ['shop'],
      defaultNS: 'shop',
      // React escapes what it renders.
      interpolation: { escapeValue: false },
      showSupportNotice: false,
    });
  i18next.on('languageChanged', announceLanguage);
  announceLanguage(i18next.language);
}

export async function chooseLanguage(language: Language): Promise<void> {
  await i18next.changeLanguage(language);
  try {
    localStorage.setItem(REMEMBERED, language);
  } catch {
    // Chosen for this visit.
  }
}

function preferredLanguage(): Language {
  let remembered: string | null = null;
  try {
    remembered = localStorage.getItem(REMEMBERED);
  } catch {
    // The browser's own language, then.
  }
  const wanted = [remembered ?? '', ...navigator.languages].map((tag) => tag.slice(0, 2));
  return wanted.find((tag): tag is Language => tag in LANGUAGES) ?? 'en';
}

function announceLanguage(language: string) {
  document.documentElement.lang = language;
}
