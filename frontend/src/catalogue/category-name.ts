import { useTranslation } from 'react-i18next';

/** Categories are the shopkeeper's own words; those of the sample goods have translations. */
export function useCategoryName() {
  const { t } = useTranslation();
  return (category: string) =>
    t(`category.${category}` as 'category.Books', { defaultValue: category });
}
