-- The shipped rule sets now name their sources in other words, and a build's definition no longer covers sources.
-- The rules themselves are the same, so builds that were made with them need not be made again.
UPDATE build SET definition = replace(definition, 'rules/43575d10ac68e1cd', 'rules/d860115af2a7dc4d')
WHERE definition LIKE '%rules/43575d10ac68e1cd';
