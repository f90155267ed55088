import { useTranslation } from 'react-i18next';
import { chooseLanguage, LANGUAGES, type Language } from '../i18n/i18n';

/** The other language's name in that language, for whoever cannot read this one. */
export function LanguageChoice() {
  const { t, i18n } = useTranslation();
  const others = (Object.keys(LANGUAGES) as Language[]).filter((each) => each !== i18n.language);
  return others.map((language) => (
    <button
      key={language}
      type="button"
      lang={language}
      title={t('nav.language')}
      onClick={() => void chooseLanguage(language)}
      className="flex min-h-11 items-center rounded-lg px-2 font-medium hover:bg-brand-dark sm:px-3"
    >
      {LANGUAGES[language]}
    </button>
  ));
}
